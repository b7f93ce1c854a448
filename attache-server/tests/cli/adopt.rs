//! `attache adopt`, as it is typed.

use serde_json::Value;

use super::Place;

#[test]
fn adopt_reports_what_it_would_do_does_it_once_and_says_why_it_refuses() {
    let place = Place::new();
    place.run(&["verify"]).expect(0);
    for folder in ["attachment/5f0c", "attachment/null"] {
        std::fs::create_dir(place.path(&format!("attache-data/objects/{folder}"))).unwrap();
    }
    place.write(
        "attache-data/objects/attachment/5f0c/c0ffee.PNG",
        b"no picture",
    );
    place.write("attache-data/objects/attachment/null/.hidden", b"x");

    let adopt = ["adopt", "--prefix", "attachment/", "--owner", "page:{2}"];
    let dry = place.run(&[&adopt[..], &["--dry-run"]].concat()).expect(1);
    assert!(
        dry.text()
            .contains("would be adopted as c0ffee of page:5f0c"),
        "{}",
        dry.text()
    );
    dry.says("would adopt 1 file").says("1 refused");

    let run = place.run(&[&adopt[..], &["--json"]].concat()).expect(1);
    let lines: Vec<Value> = run
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["outcome"], "adopted");
    assert_eq!(lines[0]["id"], "c0ffee");
    assert_eq!(lines[0]["owner"], "page:5f0c");
    assert_eq!(lines[1]["outcome"], "refused");
    assert!(
        lines[1]["reason"]
            .as_str()
            .unwrap()
            .contains("begins with a dot; rename it")
    );

    let again = place.run(&adopt).expect(1);
    again.says("adopted 0 files").says("1 already known");
    place.run(&["get", "c0ffee", "--output", "out"]).expect(0);
    assert_eq!(place.read("out"), b"no picture");
    place
        .run(&["verify", "--deep"])
        .expect(0)
        .says("all is well");
    let wrong = place.run(&["adopt", "--owner", "page"]);
    assert_eq!(wrong.code, Some(2));
}
