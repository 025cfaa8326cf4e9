//! The package recipes: image/packages with version, address and sums filled in.
//!
//! `@SHA256:PATH@` and `@SHA512:PATH@` become the sum of a file of the release. A line with the sum of a file that this release
//! lacks, because it has not all architectures, is left out.

use anyhow::{Context as _, Result};

use super::{Release, Tree, sha256, sha512, template};

/// Paths in image/packages, the same in the release's `packages`.
const RECIPES: [&str; 4] = ["APKBUILD", "default.nix", "openwrt/Makefile", "stowaway.rb"];

/// Adds the recipes.
pub(super) fn add(release: &Release, tree: &mut Tree) -> Result<()> {
    for name in RECIPES {
        let text = fill(&template(name)?, release.version, &release.url, |path| {
            tree.files.get(path).map(|file| &*file.bytes)
        });
        let text = text.with_context(|| format!("cannot fill image/packages/{name}"))?;
        tree.add(format!("packages/{name}"), text.into_bytes());
    }
    Ok(())
}

fn fill<'a>(
    text: &str,
    version: &str,
    url: &str,
    file: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<String> {
    let text = text.replace("@VERSION@", version).replace("@URL@", url);
    let mut filled = String::new();
    'lines: for line in text.lines() {
        let mut line = line.to_owned();
        for (kind, sum) in [
            ("@SHA256:", sha256 as fn(&[u8]) -> String),
            ("@SHA512:", sha512),
        ] {
            while let Some((before, rest)) = line.split_once(kind) {
                let (path, after) = rest.split_once('@').context("a placeholder has no end")?;
                let Some(bytes) = file(path) else {
                    continue 'lines;
                };
                line = format!("{before}{}{after}", sum(bytes));
            }
        }
        filled += &line;
        filled.push('\n');
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_have_no_unknown_placeholder() -> Result<()> {
        for name in RECIPES {
            let text = fill(&template(name)?, "1", "https://host/dir", |_| Some(b""))?;
            let is_known = |word: &str| ["", "(x86_64||i386||aarch64||arm)"].contains(&word);
            let unknown = text
                .split('@')
                .skip(1)
                .step_by(2)
                .find(|word| !is_known(word.trim()) && word.len() < 40);
            assert_eq!(unknown, None, "{name}");
        }
        Ok(())
    }
}
