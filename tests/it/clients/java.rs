//! Java with digest: the JDK's own HttpURLConnection, Apache HttpClient 4 and 5.

use tokio::process::Command;

use super::{Story, World, client_file, installed, run};

const JARS: &[&str] = &[
    "httpclient.jar",
    "httpcore.jar",
    "httpclient5.jar",
    "httpcore5.jar",
    "httpcore5-h2.jar",
    "commons-codec.jar",
    "commons-logging.jar",
    "slf4j-api.jar",
    "slf4j-nop.jar",
];

fn class_path(world: &World) -> String {
    let mut path = world.house.folder.path().display().to_string();
    for jar in JARS {
        path.push_str(":/usr/share/java/");
        path.push_str(jar);
    }
    path
}

async fn compile(world: &World) {
    for library in ["httpclient", "httpclient5"] {
        installed(&format!("/usr/share/java/{library}.jar"));
    }
    let mut javac = world.program("/usr/bin/javac");
    javac
        .args(["-nowarn", "-d"])
        .arg(world.house.folder.path())
        .args(["-cp", &class_path(world)])
        .args(
            [
                "Steps.java",
                "UrlConnection.java",
                "Apache4.java",
                "Apache5.java",
            ]
            .map(client_file),
        );
    let said = run(javac, None).await;
    assert_eq!(said.code, Some(0), "{}", said.errors);
}

fn java(world: &World, class: &str) -> Command {
    let mut java = world.program("/usr/bin/java");
    java.args([
        // Starts faster.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        &format!("-Dca={}", world.trust.display()),
        "-cp",
        &class_path(world),
        class,
    ]);
    java
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_clients_get_through_with_digest() {
    let world = World::open().await;
    compile(&world).await;
    for (class, listener, algorithm) in [
        ("UrlConnection", "plain", "SHA-256"),
        ("Apache4", "plain", "SHA-256"),
        ("Apache4", "tls", "SHA-256"),
        ("Apache5", "plain", "MD5"),
        ("Apache5", "tls", "MD5"),
    ] {
        println!("{class} {listener}");
        let client = || java(&world, class);
        let digest = |line: &str| line.replace("digest", &format!("digest {algorithm}"));
        let finished = digest("CONNECT 200 digest finished");
        let wrong = digest("CONNECT 407 digest bad_credentials");
        let tunnel = Story {
            listener,
            ends: &["CONNECT 407 - no_credentials", &finished],
            ends_wrong: &["CONNECT 407 - no_credentials", &wrong],
        };
        world.whole_story("https", &client, &tunnel).await;
        let fetched = digest("GET 200 digest finished");
        let sent = digest("POST 200 digest finished");
        let wrong = digest("GET 407 digest bad_credentials");
        // The JDK keeps a nonce for its next request; the others ask each time.
        let mut ends = vec!["GET 407 - no_credentials", &fetched, &sent];
        if class != "UrlConnection" {
            ends.push("POST 407 - no_credentials");
        }
        let forward = Story {
            listener,
            ends: &ends,
            ends_wrong: &["GET 407 - no_credentials", &wrong],
        };
        world.whole_story("http", &client, &forward).await;
    }
    world.close().await;
}
