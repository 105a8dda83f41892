//! Lists for people: columns in a terminal, tabs in a pipe.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use comfy_table::{Table, presets};

/// The rows under their heads, as standard output wants them.
pub(crate) fn render<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    if !std::io::stdout().is_terminal() {
        return rows.iter().fold(heads.join("\t"), |mut text, row| {
            // Writing into a String does not fail.
            let _ = write!(text, "\n{}", row.join("\t"));
            text
        });
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}
