//! What the documents say is what the code has.

use std::{fs, path::Path};

use lb_common::Reason;

#[test]
fn the_guide_lists_every_reason_with_its_meaning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/director.md");
    let guide = fs::read_to_string(&path).expect("docs/director.md");
    let (_, reasons) = guide.split_once("\n## Reasons\n").expect("a chapter");
    let rows: Vec<_> = reasons.lines().filter(|line| line.starts_with("| `")).collect();
    let wanted: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| format!("| `{}` | {} |", reason.label(), reason.help()))
        .collect();
    assert_eq!(rows, wanted);
}
