use super::*;

const SEALED: &str = "A256GCM.AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn desk() -> (Desk, String) {
    let desk = Desk::new(Hosts::default(), Duration::from_secs(60));
    let refresh = field(
        &ask(
            &desk,
            "onboard.test",
            ONBOARD_PATH,
            None,
            json!({"name": "cucm1"}),
        ),
        "refreshToken",
    );
    (desk, refresh)
}

fn ask(desk: &Desk, host: &str, path: &str, bearer: Option<&str>, body: Value) -> Answer {
    ask_at(desk, host, path, bearer, body, Instant::now())
}

fn ask_at(
    desk: &Desk,
    host: &str,
    path: &str,
    bearer: Option<&str>,
    body: Value,
    now: Instant,
) -> Answer {
    let authorization = bearer.map(|token| format!("Bearer {token}"));
    desk.answer(
        &Asked {
            method: &Method::POST,
            host,
            path,
            authorization: authorization.as_deref(),
            body: body.to_string().as_bytes(),
        },
        now,
    )
}

fn field(answer: &Answer, name: &str) -> String {
    let Answer::Reply(_, body) = answer else {
        panic!("no reply")
    };
    body[name].as_str().unwrap().to_owned()
}

fn status(answer: &Answer) -> u16 {
    match answer {
        Answer::Reply(status, _) => status.as_u16(),
        Answer::Never => 0,
    }
}

fn access(desk: &Desk, refresh: &str) -> String {
    let body = json!({ "refreshToken": refresh });
    field(
        &ask(desk, "token.test", TOKEN_PATH, None, body),
        "accessToken",
    )
}

fn a_push(target: &str, tracking_id: &str, payload: &str) -> Value {
    json!({ "target": target, "trackingId": tracking_id, "payload": payload })
}

#[test]
fn a_push_with_a_good_token_is_confirmed_and_counted_each_time() {
    let (desk, refresh) = desk();
    let token = access(&desk, &refresh);
    for _ in 0..2 {
        let answer = ask(
            &desk,
            "push.test:443",
            PUSH_PATH,
            Some(&token),
            a_push("t", "id-1", SEALED),
        );
        assert_eq!(status(&answer), 200);
    }
    assert_eq!(desk.confirmed().get("id-1"), Some(&2));
}

#[test]
fn what_is_wrong_with_a_push_has_its_status_and_is_not_counted() {
    let (desk, refresh) = desk();
    let token = access(&desk, &refresh);
    desk.forget_target("old");
    let check = |bearer: Option<&str>, body: Value, expected: u16| {
        let answer = ask(&desk, "push.test", PUSH_PATH, bearer, body.clone());
        assert_eq!(status(&answer), expected, "{body}");
    };
    check(None, a_push("t", "1", SEALED), 401);
    check(Some("nonsense"), a_push("t", "1", SEALED), 401);
    check(Some(&token), a_push("t", "1", "call from 0123"), 400);
    check(Some(&token), a_push("t", "1", "A256GCM.AAAA.AAAA"), 400);
    check(Some(&token), json!({"target": "t"}), 400);
    check(Some(&token), a_push("old", "1", SEALED), 410);
    desk.swallow_next_push();
    check(Some(&token), a_push("t", "1", SEALED), 0);
    assert_eq!(desk.confirmed().len(), 0);
    check(Some(&token), a_push("t", "1", SEALED), 200);
    desk.expire_tokens();
    check(Some(&token), a_push("t", "1", SEALED), 401);
}

#[test]
fn an_access_token_ends() {
    let (desk, refresh) = desk();
    let token = access(&desk, &refresh);
    let later = Instant::now() + Duration::from_secs(61);
    let body = a_push("t", "1", SEALED);
    assert_eq!(
        status(&ask_at(
            &desk,
            "push.test",
            PUSH_PATH,
            Some(&token),
            body,
            later
        )),
        401
    );
}

#[test]
fn a_refresh_token_that_is_not_valid_is_400() {
    let (desk, _) = desk();
    let body = json!({ "refreshToken": "made up" });
    assert_eq!(
        status(&ask(&desk, "token.test", TOKEN_PATH, None, body)),
        400
    );
    assert_eq!(
        status(&ask(&desk, "token.test", TOKEN_PATH, None, json!({}))),
        400
    );
}

#[test]
fn each_name_serves_one_thing() {
    let (desk, _) = desk();
    let body = || json!({"name": "cucm1"});
    assert_eq!(
        status(&ask(&desk, "push.test:8443", ONBOARD_PATH, None, body())),
        421
    );
    assert_eq!(
        status(&ask(&desk, "127.0.0.11:8443", ONBOARD_PATH, None, body())),
        201
    );
    assert_eq!(status(&ask(&desk, "push.test", "/", None, body())), 404);
}
