use super::*;
use crate::config::tests::Folder;

fn export(config: Option<PathBuf>, format: Format) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = ExportAcl { config, format }.run(&mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

/// `UPDATE=1 cargo test` writes it anew.
#[test]
fn the_embedded_default_as_a_ticket_has_it() {
    let (code, text, err) = export(None, Format::Text);
    assert_eq!((code, err.as_str()), (0, ""));
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/snapshots/export_acl.txt"
    );
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        text,
        "run UPDATE=1 cargo test, and look at the difference"
    );
}

const LAB: &str = "[[destination]]\nname = \"lab\"\nhosts = [\"push.test\", \"*.cloud.test\", \"::1\"]\nports = [443, \"8000-8099\"]\nrole = \"token\"\n\
                   [[destination]]\nname = \"fixed\"\nhosts = [\"fixed.test\"]\naddresses = [\"10.9.0.1\"]\n\
                   [[destination]]\npreset = \"apns\"\nhosts = [\"api.push.apple.com\"]\nports = [2197]\n";

#[test]
fn a_line_of_csv_is_a_rule() {
    let folder = Folder::new();
    let (code, text, _) = export(Some(folder.write("a.toml", LAB)), Format::Csv);
    assert_eq!(code, 0);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..11],
        [
            "destination,role,kind,value,protocol,ports",
            "lab,token,name,push.test,tcp,443",
            "lab,token,name,push.test,tcp,8000-8099",
            "lab,token,wildcard,*.cloud.test,tcp,443",
            "lab,token,wildcard,*.cloud.test,tcp,8000-8099",
            "lab,token,address,::1,tcp,443",
            "lab,token,address,::1,tcp,8000-8099",
            "fixed,push,name,fixed.test,tcp,443",
            "fixed,,address,10.9.0.1,tcp,443",
            "apns,push,name,api.push.apple.com,tcp,2197",
            "apns,,range,17.0.0.0/8,tcp,2197",
        ]
    );
}

#[test]
fn json_says_the_same_to_programs() {
    let folder = Folder::new();
    let (code, text, _) = export(Some(folder.write("a.toml", LAB)), Format::Json);
    assert_eq!(code, 0);
    let list: Value = serde_json::from_str(&text).unwrap();
    let lab = &list["destinations"][0];
    assert_eq!(lab["ports"], json!([443, "8000-8099"]));
    assert_eq!(
        lab["hosts"][1],
        json!({ "value": "*.cloud.test", "kind": "wildcard", "role": "token" })
    );
    assert_eq!(
        (&lab["by_name_only"], &lab["ranges"]),
        (&json!(true), &json!([]))
    );
    let fixed = &list["destinations"][1];
    assert_eq!(
        (&fixed["addresses"], &fixed["by_name_only"]),
        (&json!(["10.9.0.1"]), &json!(false))
    );
    assert_eq!(
        list["destinations"][2]["ranges"].as_array().unwrap().len(),
        10
    );
}

#[test]
fn a_bad_file_is_78_and_its_complaints_are_not_in_the_list() {
    let folder = Folder::new();
    let (code, text, err) = export(
        Some(folder.write("a.toml", "[dns]\ntimeot = 1\n")),
        Format::Csv,
    );
    assert_eq!((code, text.as_str()), (78, ""));
    assert!(err.contains("did you mean timeout?"), "{err}");
}

/// Name servers, the collector, and that there may be no end of targets: in each format.
#[test]
fn what_the_proxy_itself_needs_is_listed() {
    let folder = Folder::new();
    let file = folder.write(
        "a.toml",
        "[policy]\nunlisted = \"report\"\n[dns]\nservers = [\"10.0.0.53\", \"[::1]:5353\"]\n\
         [log]\naccess = \"syslog://logs.test\"\n",
    );
    let all = |format| export(Some(file.clone()), format).1;
    let csv = all(Format::Csv);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines[lines.len() - 6..],
        [
            "dns,,address,10.0.0.53,udp,53",
            "dns,,address,10.0.0.53,tcp,53",
            "dns,,address,::1,udp,5353",
            "dns,,address,::1,tcp,5353",
            "syslog,,name,logs.test,udp,514",
            "unlisted,,any,*,tcp,1-65535",
        ]
    );
    let text = all(Format::Text);
    for words in [
        "THIS LIST IS NOT COMPLETE",
        "\ndns     address  ::1              tcp       5353\n",
        "\nsyslog  name     logs.test        udp       514\n",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let list: Value = serde_json::from_str(&all(Format::Json)).unwrap();
    assert_eq!(
        list["services"][4],
        json!({ "for": "syslog", "kind": "name", "value": "logs.test", "protocol": "udp", "port": 514 })
    );
    assert_eq!(
        (&list["any_target"], &list["system_name_servers"]),
        (&json!(true), &json!(false))
    );
    let file = folder.write("b.toml", "[log]\naccess = \"syslog+tls://10.0.0.9\"\n[alarms]\nsyslog = \"syslog://10.0.0.8\"\nwebhook = \"https://ops.test/hook\"\n");
    let (_, csv, _) = export(Some(file), Format::Csv);
    assert!(csv.ends_with(
        "syslog,,address,10.0.0.9,tcp,6514\nalarms,,address,10.0.0.8,udp,514\nalarms,,name,ops.test,tcp,443\ndns,,system,/etc/resolv.conf,udp,53\ndns,,system,/etc/resolv.conf,tcp,53\n"
    ), "{csv}");
}

#[test]
fn behind_parents_these_are_all_that_is_dialled() {
    let folder = Folder::new();
    let file = folder.write(
        "t.toml",
        "[[destination]]\nname = \"a\"\nhosts = [\"a.test\"]\nports = [443]\nvia = [\"http://p.test:3128\", \"https://[::1]:3129\"]\n",
    );
    let (_, csv, _) = export(Some(file.clone()), Format::Csv);
    assert!(
        csv.contains("\na,parent,name,p.test,tcp,3128\na,parent,address,::1,tcp,3129\n"),
        "{csv}"
    );
    let (_, text, _) = export(Some(file), Format::Text);
    assert!(
        text.contains("p.test") && !text.contains("a.test"),
        "{text}"
    );
}
