"""`attar sample`: a small project for Android Studio or Xcode that runs an exported file with the camera.

- `write`: the verb
- `android/`, `ios/`: the projects' files, `<<WORDS>>` to be filled in
"""
