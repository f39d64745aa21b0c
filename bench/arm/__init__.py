"""ARM speed without ARM hardware: executed instructions under an emulator, cycles by LLVM's processor models.

Nothing here measures time. docs/arm_speed.md says what the numbers mean and what they do not.
"""
