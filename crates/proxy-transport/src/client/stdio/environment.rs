//! What a child process gets to see of our environment: little, so that no secret of the proxy ends up in every server.

use std::ffi::{OsStr, OsString};

use crate::client::options::StdioOptions;

/// The environment of a child: a few harmless variables, those that `inherit_env` names, then its own.
pub(super) fn of(
    options: &StdioOptions,
    ours: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let passed = ours.filter(|(name, value)| {
        let asked = || {
            let name = name.to_str();
            name.is_some_and(|name| options.inherit_env.iter().any(|pattern| matches(pattern, name)))
        };
        // Some shells export functions as variables, which a shell of the child would run.
        asked() || is_harmless(name) && !value.to_string_lossy().starts_with("()")
    });
    let own = options
        .env
        .iter()
        .map(|(name, value)| (name.into(), value.expose().into()));
    passed.chain(own).collect()
}

fn is_harmless(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    if cfg!(windows) {
        return ON_WINDOWS.iter().any(|known| known.eq_ignore_ascii_case(name));
    }
    ON_UNIX.contains(&name) || name.starts_with("LC_")
}

/// Whether `name` fits `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

const ON_UNIX: [&str; 9] = [
    "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER",
];

/// Programs there do not start, or find no folder to write to, without these.
const ON_WINDOWS: [&str; 22] = [
    "APPDATA",
    "COMSPEC",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "NUMBER_OF_PROCESSORS",
    "OS",
    "PATH",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "PROGRAMFILES(X86)",
    "PROGRAMW6432",
    "PUBLIC",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "USERNAME",
    "USERPROFILE",
    "WINDIR",
];

#[cfg(test)]
mod tests {
    use mcp_proxy_core::Secret;

    use super::*;

    #[test]
    fn only_what_is_harmless_or_asked_for_is_passed_on() {
        let mut options = StdioOptions::new("x");
        options.inherit_env = vec!["AWS_*_ID".into(), "EXACT".into()];
        options.env = vec![("PATH".into(), Secret::new("/own")), ("TOKEN".into(), Secret::new("t"))];
        let ours = [
            ("HOME", "/root"),
            ("PATH", "/bin"),
            ("SECRET", "s"),
            ("AWS_KEY_ID", "k"),
            ("AWS_KEY", "k"),
            ("EXACT", "e"),
            ("EXACTLY", "e"),
            ("TERM", "() { :; }"),
        ];
        let passed = of(&options, ours.iter().map(|(name, value)| (name.into(), value.into())));
        let names: Vec<_> = passed.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        let expected: &[&str] = match cfg!(windows) {
            true => &["PATH", "AWS_KEY_ID", "EXACT", "PATH", "TOKEN"],
            false => &["HOME", "PATH", "AWS_KEY_ID", "EXACT", "PATH", "TOKEN"],
        };
        assert_eq!(names, expected, "its own come last and win");
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("A*", "A", true),
            ("A*B", "AB", true),
            ("A*B", "A", false),
            ("AB*B", "AB", false),
            ("*A*A*", "AxA", true),
            ("*A*A*", "A", false),
            ("", "A", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern:?} {name:?}");
        }
    }
}
