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
            // The OpenBLAS of Chaquopy's own numpy is aligned to 4 KiB: phones with pages of 16 KiB refuse to load it.
            // This index of the same project has a newer numpy without that fault, until numpy's own wheels are out.
            options("--extra-index-url", "https://chaquo.com/pypi-upstream/")
            install("wheels/edgert-0.1.0-py3-none-android_21_arm64_v8a.whl")
        }
    }
}
