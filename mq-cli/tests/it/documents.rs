//! Documents that repeat what the program prints are held to it.

use std::process::Command;

#[test]
fn the_page_on_configuration_shows_what_the_program_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_mq"))
        .arg("config")
        .output()
        .unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let page = include_str!("../../../docs/configuration.md");
    let block = page.split("```text\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    assert_eq!(
        block, printed,
        "paste what `mq config` prints into the page"
    );
}
