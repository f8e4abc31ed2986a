//! docs/ipvs-differences.md: what tunlb does otherwise, and why. A heading, the reason, and a list of the cases that show it.

use std::fs;

use super::table::document;

/// A difference with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) title: String,
    pub(crate) cases: Vec<String>,
}

/// Reads the document.
pub(crate) fn listed() -> Vec<Difference> {
    parse(&fs::read_to_string(document("ipvs-differences.md")).expect("docs/ipvs-differences.md"))
}

fn parse(text: &str) -> Vec<Difference> {
    let mut differences: Vec<Difference> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            differences.push(Difference { title: title.to_owned(), cases: Vec::new() });
        } else if let Some(case) = line.strip_prefix("- `").and_then(|rest| rest.strip_suffix('`'))
            && let Some(difference) = differences.last_mut()
        {
            difference.cases.push(case.to_owned());
        }
    }
    differences
}

/// The title of the difference that a case stands under.
pub(crate) fn title<'a>(listed: &'a [Difference], case: &str) -> Option<&'a str> {
    let found = listed.iter().find(|difference| difference.cases.iter().any(|c| c == case));
    found.map(|difference| difference.title.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_belong_to_the_heading_above_them() {
        let text = "# All\n\nText.\n\n## One\n\nWhy.\n\n- `a`\n- `b`\n\n## Two\n\n- `c`\n";
        let listed = parse(text);
        assert_eq!(title(&listed, "b"), Some("One"));
        assert_eq!(title(&listed, "c"), Some("Two"));
        assert_eq!(title(&listed, "d"), None);
    }
}
