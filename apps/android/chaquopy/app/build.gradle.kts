plugins {
    id("com.android.application")
    id("com.chaquo.python")
}

android {
    namespace = "com.example.edgert"
    compileSdk = 35
    defaultConfig {
        applicationId = "com.example.edgert"
        minSdk = 24 // the least that Chaquopy 17 supports
        targetSdk = 35
        versionCode = 1
        versionName = "1.0"
        ndk {
            abiFilters += "arm64-v8a" // the one ABI of the wheel below; phones and emulators on Apple computers
        }
    }
}

chaquopy {
    defaultConfig {
        version = "3.13" // and the Python of this name must be installed on the computer that builds
        pip {
            // Chaquopy's own numpy needs an OpenBLAS of 4 KiB pages, which phones of 16 KiB pages refuse to load.
            // This index of the same project has one that needs none, until numpy's own Android wheels are out.
            options("--extra-index-url", "https://chaquo.com/pypi-upstream/")
            install("wheels/edgert-0.1.0-py3-none-android_21_arm64_v8a.whl")
        }
    }
}
