//! Java with digest: the JDK's own HttpURLConnection, Apache HttpClient 4 and 5.

use tokio::process::Command;

use super::{Pick, Story, Terms, World, client_file, installed, run};

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

/// Each with the listeners that it can come by, and the challenge that it takes.
const WAYS: [(&str, &str, Pick); 5] = [
    ("UrlConnection", "plain", Pick::Last),
    ("Apache4", "plain", Pick::Last),
    ("Apache4", "tls", Pick::Last),
    ("Apache5", "plain", Pick::First),
    ("Apache5", "tls", Pick::First),
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
    for (class, listener, pick) in WAYS {
        let algorithm = Terms::DEFAULT.taken(pick);
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
    jdk_asks_once(&world).await;
    let mut before = Terms::DEFAULT;
    for terms in Terms::OTHERS {
        world.reload(&before, &terms).await;
        for (class, listener, pick) in WAYS {
            println!("{class} {listener} {terms:?}");
            let taken = terms.taken(pick);
            let mut ends = vec![
                "GET 407 - no_credentials".to_owned(),
                format!("GET 200 digest {taken} finished"),
                format!("CONNECT 200 digest {taken} finished"),
            ];
            if class != "UrlConnection" {
                ends.push("CONNECT 407 - no_credentials".to_owned());
            }
            let ends: Vec<_> = ends.iter().map(String::as_str).collect();
            let story = Story {
                listener,
                ends: &ends,
                ends_wrong: &[],
            };
            world.short_story(&|| java(&world, class), &story).await;
        }
        before = terms;
    }
    world.close().await;
}

/// The one of them that keeps a nonce is challenged once, whatever it asks for and on however many connections.
async fn jdk_asks_once(world: &World) {
    let challenged = r#"reason="no_credentials""#;
    let before = world.exchanges_with(challenged).await;
    let mut command = java(world, "UrlConnection");
    command.args([&world.proxy("plain"), "ann", "secret"]);
    for scheme in ["http", "https", "http", "https", "http"] {
        command.arg(format!("GET {}", world.url(scheme, "/hello")));
    }
    let said = run(command, None).await;
    assert_eq!(
        said.lines(),
        ["200 hello from /hello"; 5],
        "{}",
        said.errors
    );
    let ends = [
        "GET 407 - no_credentials",
        "GET 200 digest SHA-256 finished",
        "CONNECT 200 digest SHA-256 finished",
    ];
    world.ends(&ends).await;
    world.origin_saw(&["GET /hello"; 5]);
    assert_eq!(world.exchanges_with(challenged).await - before, 1);
}
