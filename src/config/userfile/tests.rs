use super::*;
use crate::config::tests::Folder;
use proptest::prelude::*;

const MD5: &str = "0123456789abcdef0123456789abcdef";

fn line(user: &str, hash: &str) -> UserLine {
    UserLine::parse(&format!("{user}:push:{hash}")).unwrap()
}

fn password(lines: &[UserLine]) -> PasswordLines {
    PasswordLines {
        utf8: lines.to_vec(),
        ..PasswordLines::default()
    }
}

fn text(file: &UserFile) -> String {
    String::from_utf8(file.render().reveal().to_vec()).unwrap()
}

#[test]
fn lines() {
    let check = |line: &str, expected: Result<HashKind, &str>| {
        let found = UserLine::parse(line).map(|line| line.kind);
        assert_eq!(
            found.map_err(|err| err.to_string()),
            expected.map_err(str::to_owned),
            "{line}"
        );
    };
    check(&format!("ann:push:{MD5}"), Ok(HashKind::Md5));
    check(&format!("ann:push:{MD5}{MD5}"), Ok(HashKind::Sha256));
    check(
        &format!("ann smith:my push:{}", MD5.to_uppercase()),
        Ok(HashKind::Md5),
    );
    check("ann", Err("has no colon"));
    check("ann:secret", Err("has 2 fields, not three"));
    check(&format!("ann:a:b:{MD5}"), Err("has 4 fields, not three"));
    check(&format!(":push:{MD5}"), Err("names no user"));
    check(&format!("ann::{MD5}"), Err("names no realm"));
    check(&format!("a\tn:push:{MD5}"), Err("has control characters"));
    check(
        "ann:push:{SHA}abc=",
        Err("ends in 9 characters that are no hash"),
    );
    check(
        &format!("ann:push:{MD5} "),
        Err("ends in 33 characters that are no hash"),
    );
}

#[test]
fn remarks_and_bad_lines_stay_where_they_are() {
    let before = format!("# staff\r\n\nann:push:{MD5}\nbroken\nann:other:{MD5}\n");
    let mut file = UserFile::parse(&before);
    assert_eq!(
        file.bad_lines().collect::<Vec<_>>(),
        [(4, LineError::Fields { found: 1 })]
    );
    let new = "f".repeat(64);
    file.set(
        &UserName::new("ann"),
        "push",
        &password(&[line("ann", MD5), line("ann", &new)]),
    );
    assert_eq!(
        text(&file),
        format!("# staff\n\nann:push:{MD5}\nann:push:{new}\nbroken\nann:other:{MD5}\n")
    );
}

#[test]
fn an_added_password_stands_first_and_retiring_drops_the_older() {
    let (new_md5, new_sha, old_sha) = ("1".repeat(32), "2".repeat(64), "3".repeat(64));
    let ann = UserName::new("ann");
    let mut file = UserFile::parse(&format!(
        "bob:push:{MD5}\nann:push:{MD5}\nann:push:{old_sha}\n"
    ));
    file.add(
        &ann,
        "push",
        &password(&[line("ann", &new_md5), line("ann", &new_sha)]),
    );
    assert_eq!(
        text(&file),
        format!(
            "bob:push:{MD5}\nann:push:{new_md5}\nann:push:{new_sha}\nann:push:{MD5}\nann:push:{old_sha}\n"
        )
    );
    assert_eq!(file.retire(&ann, "push"), Retired { removed: 2 });
    assert_eq!(
        text(&file),
        format!("bob:push:{MD5}\nann:push:{new_md5}\nann:push:{new_sha}\n")
    );
    assert_eq!(file.retire(&ann, "push"), Retired { removed: 0 });
}

#[test]
fn a_new_user_goes_last() {
    let mut file = UserFile::parse(&format!("bob:push:{MD5}"));
    file.add(
        &UserName::new("ann"),
        "push",
        &password(&[line("ann", MD5)]),
    );
    assert_eq!(text(&file), format!("bob:push:{MD5}\nann:push:{MD5}\n"));
}

#[test]
fn no_hash_is_ever_printed() {
    let file = UserFile::parse(&format!("ann:push:{MD5}\nann:push:{MD5}0\n"));
    assert!(!format!("{file:?}").contains(MD5));
}

#[test]
fn a_written_file_is_its_owners_alone_and_keeps_the_mode_it_had() {
    let folder = Folder::new();
    let path = folder.path("users.htdigest");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert!(UserFile::read(&path).is_err());
    let mut file = UserFile::read_or_empty(&path).unwrap();
    file.set(
        &UserName::new("ann"),
        "push",
        &password(&[line("ann", MD5)]),
    );
    file.write(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        format!("ann:push:{MD5}\n")
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.path("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    file.write(&link).unwrap();
    assert_eq!(mode(&path), 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        folder.names(),
        ["link", "users.htdigest"],
        "nothing is left beside"
    );
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let folder = Folder::new();
    let err = UserFile::default()
        .write(&folder.path("no/users"))
        .unwrap_err();
    assert!(
        err.to_string().ends_with("no/users cannot be written"),
        "{err}"
    );
}

proptest! {
    #[test]
    fn what_is_rendered_reads_the_same(before in "([a-c]{0,2}:{0,2}(push|x)?:?[0-9a-f]{0,66}\n|#\\PC{0,5}\n|\n){0,8}") {
        let once = text(&UserFile::parse(&before));
        prop_assert_eq!(text(&UserFile::parse(&once)), once);
    }
}
