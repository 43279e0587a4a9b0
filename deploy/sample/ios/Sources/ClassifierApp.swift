import SwiftUI

@main
struct ClassifierApp: App {
    @StateObject private var camera = Camera()

    var body: some Scene {
        WindowGroup {
            ZStack(alignment: .bottom) {
                CameraPreview(session: camera.session).ignoresSafeArea()
                Text(camera.text)
                    .padding()
                    .frame(maxWidth: .infinity, alignment: .leading)
                    .background(.thinMaterial)
            }
            .task { await camera.start() }
        }
    }
}
