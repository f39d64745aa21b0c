// Versions that fit each other: Chaquopy 17.0 takes the Android plugin 7.3 to 9.2, which takes this Gradle.
plugins {
    id("com.android.application") version "8.11.1" apply false
    id("com.chaquo.python") version "17.0.0" apply false
}
