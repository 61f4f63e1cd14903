//! The icon.

use roxmltree::{Document, Node, ParsingOptions};

use super::{Check, Defect, Run, Subject};
use crate::model::{finding::Severity, yaml::Place};

/// An icon that is missing or can't be read is for `icon` to say; `icon-square` passes then.
pub const CHECKS: &[Check] = &[
    Check {
        id: "icon",
        description: "icon.svg is an SVG and not the default icon",
        severity: Severity::Error,
        applies: "all",
        run: Run::Connector(icon),
    },
    Check {
        id: "icon-square",
        description: "icon.svg is as wide as it is high",
        severity: Severity::Warning,
        applies: "all with an icon that says its size",
        run: Run::Connector(square),
    },
];

const ICON: &str = "icon.svg";
/// How the outline of the icon that Airbyte's generator puts into a new connector begins.
const DEFAULT_OUTLINE: &str = "M95.775 53.416c20.364-22.88";
/// Icons that differ by less look square.
const TOLERANCE: f64 = 0.01;

fn icon(subject: &Subject) -> Vec<Defect> {
    let defect = |at, message: String, help| vec![subject.in_file(ICON, at, message, help)];
    const DRAW: &str = "put a square SVG of the service's logo there";
    let Some(text) = subject.files.text(ICON) else {
        let message = match subject.files.has(ICON) {
            true => "icon.svg is no UTF-8 text",
            false => "icon.svg is missing",
        };
        return defect(Place::START, message.to_owned(), DRAW);
    };
    match parse(text) {
        Err(error) => {
            let at = Place {
                line: error.pos().row as usize,
                column: error.pos().col as usize,
            };
            defect(
                at,
                format!("icon.svg is no XML: {error}"),
                "export it again as SVG",
            )
        }
        Ok(xml) if xml.root_element().tag_name().name() != "svg" => {
            let root = xml.root_element().tag_name().name().to_owned();
            defect(
                Place::START,
                format!("icon.svg is no SVG: its root is `{root}`"),
                DRAW,
            )
        }
        Ok(_) if text.contains(DEFAULT_OUTLINE) => defect(
            Place::START,
            "icon.svg is the default icon".to_owned(),
            DRAW,
        ),
        Ok(_) => Vec::new(),
    }
}

fn parse(text: &str) -> Result<Document<'_>, roxmltree::Error> {
    let options = ParsingOptions {
        // Older drawing programs write one; entities are bounded.
        allow_dtd: true,
        nodes_limit: 1_000_000,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options)
}

fn square(subject: &Subject) -> Vec<Defect> {
    let Some(text) = subject.files.text(ICON) else {
        return Vec::new();
    };
    let Ok(xml) = parse(text) else {
        return Vec::new();
    };
    let root = xml.root_element();
    match size(root) {
        Some((width, height)) if (width - height).abs() > TOLERANCE * width.max(height) => {
            let at = xml.text_pos_at(root.range().start);
            let at = Place {
                line: at.row as usize,
                column: at.col as usize,
            };
            let message = format!("icon.svg is {width} wide and {height} high");
            let help = "make width and height, or those of the viewBox, equal";
            vec![subject.in_file(ICON, at, message, help)]
        }
        _ => Vec::new(),
    }
}

/// Width and height as drawn: the attributes, else the viewBox. None where both are relative or absent.
fn size(root: Node) -> Option<(f64, f64)> {
    let number = |text: &str| text.trim().trim_end_matches("px").parse::<f64>().ok();
    let attribute = |name| root.attribute(name).and_then(number);
    if let (Some(width), Some(height)) = (attribute("width"), attribute("height")) {
        return Some((width, height));
    }
    let corners: Vec<f64> = root
        .attribute("viewBox")?
        .split([' ', ','])
        .filter_map(number)
        .collect();
    match corners[..] {
        [_, _, width, height] => Some((width, height)),
        _ => None,
    }
}
