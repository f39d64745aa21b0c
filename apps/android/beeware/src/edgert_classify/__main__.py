"""Where Briefcase starts the app."""

from edgert_classify.app import main

if __name__ == "__main__":
    main().main_loop()
