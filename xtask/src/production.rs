//! What runs in production must not depend on what tests are made with, nor be built with known mistakes.

use std::path::Path;

use anyhow::bail;

use crate::shell::Invocation;

/// What programs are linked with.
const PRODUCTS: [&str; 2] = ["mq", "mq-cli"];

/// What only tests may be linked with.
const FOR_TESTS: &str = "mq-testing";

/// The word that builds known mistakes in, and the files that could say it for every build.
const CANARY: &str = "mq_canary";
const BUILD_FILES: [&str; 2] = [".cargo/config.toml", "rust-toolchain.toml"];

/// Looks at everything that the products need when they are built without their tests.
///
/// # Errors
/// When the crate for tests is among it, or cargo cannot say.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    for product in PRODUCTS {
        let tree = [
            "tree",
            "--edges",
            "normal,build",
            "--all-features",
            "--prefix",
            "none",
        ];
        let tree = Invocation::cargo(&tree).arguments(&["--package", product]);
        let packages = tree.output(root)?;
        if !packages.lines().any(|line| is_package(line, product)) {
            bail!("{tree}: {product} is not in its own tree");
        }
        if packages.lines().any(|line| is_package(line, FOR_TESTS)) {
            bail!("{product} would be built with {FOR_TESTS}; make it a dev-dependency: {tree}");
        }
    }
    for file in BUILD_FILES {
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        if text.contains(CANARY) {
            bail!("{file} builds known mistakes into everything: take {CANARY} out of it");
        }
    }
    if std::env::var("RUSTFLAGS").is_ok_and(|flags| flags.contains(CANARY)) {
        bail!("RUSTFLAGS builds known mistakes into everything: unset it");
    }
    Ok(())
}

/// Whether a line of the tree is about this package.
fn is_package(line: &str, name: &str) -> bool {
    line.split_whitespace().next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_its_whole_name() {
        assert!(is_package("mq-testing v0.1.0 (/mq/mq-testing)", FOR_TESTS));
        assert!(!is_package("mq v0.1.0 (/mq)", FOR_TESTS));
        assert!(!is_package("mq-testing-tools v1.0.0", FOR_TESTS));
    }
}
