//! The pictures of README.md, drawn from recorded data: `image/terminal.svg` from a terminal session, `image/compare.svg` from the
//! figures of `cargo xtask bench --record`.
//!
//! GitHub shows them as images: they run no script, load nothing, and have a background of their own, so that they are readable
//! on light and dark pages.

pub mod compare;
pub mod terminal;

/// Head of a picture of `size` pixels with a title, which screen readers read.
fn head([width, height]: [usize; 2], title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n",
        escaped(title)
    )
}

/// A text as XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use anyhow::{Result, ensure};

    use crate::build::workspace_root;

    #[test]
    fn pictures_are_drawn_from_their_data() -> Result<()> {
        type Draw = fn(&str) -> Result<String>;
        let cases: [(&str, &str, Draw); 2] = [
            ("terminal.svg", "terminal.txt", |session| {
                Ok(super::terminal::draw(session))
            }),
            ("compare.svg", "figures.json", super::compare::draw),
        ];
        let image = workspace_root().join("image");
        for (picture, data, draw) in cases {
            let drawn = draw(&fs::read_to_string(image.join("doc").join(data))?)?;
            let kept = fs::read_to_string(image.join(picture)).unwrap_or_default();
            if drawn != kept {
                fs::write(workspace_root().join("target").join(picture), &drawn)?;
            }
            ensure!(
                drawn == kept,
                "image/{picture} is not that of image/doc/{data}: cp target/{picture} image/"
            );
        }
        Ok(())
    }
}
