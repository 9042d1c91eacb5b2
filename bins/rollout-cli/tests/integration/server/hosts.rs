//! Many hosts at once, over an API whose bodies are bounded.

use serde_json::{Value, json};

use super::Served;

#[test]
fn a_list_that_is_larger_than_a_body_is_imported_in_parts() {
    let served = Served::new(1, "");
    let host = |number: u32| json!({ "name": format!("new-{number:04}"), "address": "192.0.2.1", "repo": format!("/srv/{number}"), "labels": { "batch": "one" } });
    let hosts: Vec<Value> = (0..1500).map(host).collect();
    served
        .site
        .place
        .write("many.json", &json!({ "hosts": hosts }).to_string());
    let ran = served.expect(0, &["hosts", "import", "many.json", "-y", "-q"]);
    assert!(
        ran.stdout.contains("+ 1500 new"),
        "{}",
        ran.stdout.lines().last().unwrap()
    );
    let listed = served.expect(0, &["hosts", "list", "--json", "--on", "@batch=one"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["hosts"].as_array().unwrap().len(), 1500);
    let exported = served.expect(0, &["hosts", "export"]);
    let exported: Value = serde_json::from_str(&exported.stdout).unwrap();
    assert_eq!(exported["hosts"].as_array().unwrap().len(), 1501);
}
