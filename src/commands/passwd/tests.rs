use std::fs;

use clap::{CommandFactory, FromArgMatches};

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    passwd: Passwd,
}

fn parse(args: &[&str]) -> Result<Passwd, clap::Error> {
    let line = ["passwd"].iter().chain(args);
    let matches = Line::command().try_get_matches_from(line)?;
    Line::from_arg_matches(&matches).map(|line| line.passwd)
}

/// A users file of its own in a directory of its own.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("tidegate-passwd-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> String {
        self.0.join("users").display().to_string()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap_or_default()
    }

    /// Runs `passwd FILE args…` with this password typed.
    fn passwd(&self, args: &[&str], password: &str) -> Result<String, String> {
        let file = self.file();
        let all: Vec<_> = [&*file].iter().chain(args).copied().collect();
        let passwd = parse(&all).unwrap();
        let done = passwd.change(|| Ok(password.to_owned()));
        done.map_err(|error| chain(&error))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

// As `printf ann:tidegate:secret | md5sum` and `sha256sum` say.
const MD5: &str = "ann:tidegate:e06d17baaf059d3fcd1055825c5326bf\n";
const SHA256: &str =
    "ann:tidegate:66c61188a169d58a22a1de63251c54125631df5032d2adfcfbae54cfa224e81f\n";

#[test]
fn a_password_is_set_added_and_retired() {
    let place = Place::new("story");
    let said = place.passwd(&["ann"], "secret").unwrap();
    assert!(said.contains("ann in realm tidegate set"), "{said}");
    assert!(said.contains("tidegate reload"), "{said}");
    let first = format!("{MD5}{SHA256}");
    assert_eq!(place.text(), first);

    place.passwd(&["bob", "--realm", "push"], "other").unwrap();
    let bob = place.text().replace(&first, "");
    assert_eq!(bob.lines().count(), 2);

    place.passwd(&["ann", "--add"], "newer").unwrap();
    let newer: Vec<_> = place.text().lines().take(2).map(str::to_owned).collect();
    let newer = format!("{}\n", newer.join("\n"));
    assert_eq!(place.text(), format!("{newer}{first}{bob}"));

    let said = place.passwd(&["ann", "--retire"], "unasked").unwrap();
    assert!(said.contains("2 lines"), "{said}");
    assert_eq!(place.text(), format!("{newer}{bob}"));
    let said = place.passwd(&["ann", "--retire"], "unasked").unwrap();
    assert!(said.contains("nothing to retire"), "{said}");

    place.passwd(&["ann"], "secret").unwrap();
    assert_eq!(place.text(), format!("{first}{bob}"));
}

#[test]
fn a_password_beyond_ascii_has_lines_for_both_spellings() {
    let place = Place::new("latin");
    let said = place.passwd(&["ann"], "süß").unwrap();
    assert!(said.contains("ISO-8859-1"), "{said}");
    let text = place.text();
    let hashes: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(':').nth(2))
        .collect();
    let parts = |password: &'static [u8]| [&b"ann"[..], b"tidegate", password];
    let want = [
        hash(HashKind::Md5, &parts("süß".as_bytes())),
        hash(HashKind::Sha256, &parts("süß".as_bytes())),
        hash(HashKind::Md5, &parts(b"s\xFC\xDF")),
        hash(HashKind::Sha256, &parts(b"s\xFC\xDF")),
    ];
    let want: Vec<_> = want.iter().map(|hash| hash.as_bytes()).collect();
    let got: Vec<_> = hashes.iter().map(|hash| hash.as_bytes()).collect();
    assert_eq!(got, want);
    place.passwd(&["ann"], "€uro").unwrap();
    assert_eq!(place.text().lines().count(), 2, "no such spelling");
}

#[test]
fn retiring_keeps_both_spellings_of_the_newest_password() {
    let place = Place::new("spellings");
    let of = |password: &str| {
        place.passwd(&["ann"], password).unwrap();
        place.text()
    };
    let (plain, oe, ue) = (of("plain"), of("öl"), of("über"));
    assert_eq!(
        [&plain, &oe, &ue].map(|text| text.lines().count()),
        [2, 5, 5]
    );
    for (older, newest, removed) in [
        (&["plain"][..], ("über", &ue), 2),
        (&["öl"], ("über", &ue), 4),
        (&["öl", "plain"], ("über", &ue), 6),
        (&["plain", "öl"], ("über", &ue), 6),
        (&["öl", "über"], ("plain", &plain), 8),
    ] {
        place.passwd(&["ann"], older[0]).unwrap();
        place.passwd(&["bob"], "böb").unwrap();
        let bob: String = place
            .text()
            .lines()
            .skip_while(|line| !line.contains("bob"))
            .map(|line| format!("{line}\n"))
            .collect();
        for password in &older[1..] {
            place.passwd(&["ann", "--add"], password).unwrap();
        }
        place.passwd(&["ann", "--add"], newest.0).unwrap();
        let said = place.passwd(&["ann", "--retire"], "").unwrap();
        assert!(said.contains(&format!("{removed} lines")), "{said}");
        assert_eq!(place.text(), format!("{}{bob}", newest.1));
        let again = place.passwd(&["ann", "--retire"], "").unwrap();
        assert!(again.contains("nothing to retire"), "{again}");
        place.passwd(&["bob"], "plain").unwrap();
        assert_eq!(
            place
                .text()
                .lines()
                .filter(|line| line.contains("bob"))
                .count(),
            2
        );
        fs::remove_file(place.file()).unwrap();
    }
}

#[track_caller]
fn check_refused(args: &[&str], part: &str) {
    let place = Place::new("refused");
    let error = place.passwd(args, "secret").unwrap_err();
    assert!(error.contains(part), "{error}");
    assert_eq!(place.text(), "", "something was written");
}

#[test]
fn what_cannot_be_a_name_is_refused() {
    check_refused(&[""], "user is empty");
    check_refused(&["a:b"], "user has a colon");
    check_refused(&["a\nb"], "user has control");
    check_refused(&["#ann"], "user begins with #");
    check_refused(&["ann "], "blank");
    check_refused(&[&"a".repeat(257)], "user is longer");
    check_refused(&["ann", "--realm", ""], "realm is empty");
    check_refused(&["ann", "--realm", "a:b"], "realm has a colon");
    check_refused(&["ann", "--realm", "a\"b"], "realm has a quote");
    check_refused(&["ann", "--retire"], "users: there is no such file");
}

#[test]
fn a_stranger_cannot_be_retired() {
    let place = Place::new("stranger");
    place.passwd(&["ann"], "secret").unwrap();
    let error = place
        .passwd(&["ann", "--retire", "--realm", "x"], "")
        .unwrap_err();
    assert_eq!(error, "this user has no line in this realm");
}

#[test]
fn a_file_that_cannot_be_written_is_named_with_the_cause() {
    let place = Place::new("nowhere");
    let file = place.0.join("no").join("users");
    let passwd = parse(&[&file.display().to_string(), "ann"]).unwrap();
    let error = passwd.change(|| Ok("secret".to_owned())).unwrap_err();
    let said = chain(&error);
    assert!(
        said.contains("no/users") && said.contains("its folder does not exist: make it first"),
        "{said}"
    );
}

#[test]
fn a_failed_question_writes_nothing_and_exits_1() {
    let place = Place::new("asked");
    let passwd = parse(&[&place.file(), "a:b"]).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    assert_eq!(passwd.run(&mut out, &mut errors), 1);
    assert_eq!(out, b"");
    assert_eq!(errors, b"tidegate passwd: the user has a colon\n");
    let passwd = parse(&[&place.file(), "ann"]).unwrap();
    let error = passwd.change(|| Err(PromptError::Differ)).unwrap_err();
    assert_eq!(chain(&error), "the two passwords differ");
    assert_eq!(place.text(), "");
}

#[test]
fn a_password_on_the_command_line_is_wrong_usage() {
    assert!(parse(&["users", "ann", "secret"]).is_err());
    assert!(parse(&["users", "ann", "--add", "--retire"]).is_err());
    assert!(parse(&["users"]).is_err());
    assert!(parse(&["users", "ann"]).is_ok());
}
