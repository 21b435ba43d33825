//! Programs that are not ours and read what we write. Where one is missing its test says so and does nothing; `.ci/run` installs them.

use std::path::PathBuf;

/// The program's path, if it is installed. With `TAMPERSCOPE_TOOLS=all`, as in continuous integration, a missing one fails the test.
pub fn find(name: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).map(|dir| dir.join(name)).find(|p| p.is_file());
    report(name, found)
}

/// A Python that can import `module`.
pub fn python(module: &str) -> Option<PathBuf> {
    let python = std::env::var_os("TAMPERSCOPE_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let can = std::process::Command::new(&python)
        .args(["-c", &format!("import {module}")])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    report(&format!("python3 with the module {module}"), can.then_some(python))
}

fn report(what: &str, found: Option<PathBuf>) -> Option<PathBuf> {
    if found.is_none() {
        assert!(std::env::var_os("TAMPERSCOPE_TOOLS").is_none_or(|t| t != "all"), "{what} is not installed");
        eprintln!("skipped: {what} is not installed");
    }
    found
}
