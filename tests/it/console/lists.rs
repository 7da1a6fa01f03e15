//! The templates of lists: on a small screen a list has no heads, so that each cell says what it is.

use std::fs;
use std::path::Path;

/// The cells of a list that need no name: what the row is about, and what is done to it.
const SPEAK_FOR_THEMSELVES: [&str; 2] = [r#" class="names""#, r#" class="acts""#];

#[test]
fn every_cell_of_a_list_says_what_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let (mut silent, mut lists) = (Vec::new(), 0);
    for file in fs::read_dir(folder).expect("the templates") {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("a template");
        for list in text.split(r#"<table class="stack">"#).skip(1) {
            lists += 1;
            let list = list.split("</table>").next().unwrap_or_default();
            for cell in list.split("<td").skip(1).filter_map(|cell| cell.split('>').next()) {
                if !cell.contains(" data-label=") && !SPEAK_FOR_THEMSELVES.contains(&cell) {
                    silent.push(format!("{}: <td{cell}>", path.display()));
                }
            }
        }
    }
    assert!(lists > 8, "the lists are still there");
    assert!(silent.is_empty(), "{silent:#?}");
}
