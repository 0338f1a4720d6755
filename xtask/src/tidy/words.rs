//! Words that must not be in the repository, since they are true on one machine only: places in its file system, hosts of
//! package registries that a mirror may stand in for, and documents that no reader of a clone can open.

use super::{Finding, Text};

/// Folders of somebody's machine. In parts, lest this file finds itself.
const FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("../sha", "red/")];

/// Hosts that a package comes from. A lock pins versions and digests; where they are fetched is the reader's business.
const HOSTS: &[&str] = &[
    concat!("registry.npm", "js.org"),
    concat!("registry.yarn", "pkg.com"),
    concat!("files.python", "hosted.org"),
    concat!("py", "pi.org"),
    concat!("static.", "crates.io"),
    concat!("index.", "crates.io"),
    concat!("deb.deb", "ian.org"),
    concat!("archive.ubu", "ntu.com"),
    concat!("proxy.go", "lang.org"),
];

/// Written by cargo, with the address of the registry in every entry.
const GENERATED: &[&str] = &["Cargo.lock", "fuzz/Cargo.lock"];

/// Documents that other repositories are expected to have and we may speak of.
const ELSEWHERE: &[&str] = &["SKILL.md"];

/// Looks at every text file; `files` are the names of all files.
pub(super) fn check(texts: &[Text], files: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in texts.iter().filter(|text| !GENERATED.contains(&text.path.as_str())) {
        for (number, line) in text.lines() {
            for folder in FOLDERS.iter().filter(|folder| names_folder(line, folder)) {
                findings.push(text.finding(
                    number,
                    format!("names `{folder}`, a folder of one machine"),
                    "write the path from the root of the repository, or take it as an argument",
                ));
            }
            for host in HOSTS.iter().filter(|host| line.contains(**host)) {
                findings.push(text.finding(
                    number,
                    format!("names `{host}`, the host of a registry"),
                    "name the package; for a lock of npm: npm install --omit-lockfile-registry-resolved",
                ));
            }
            for document in documents(line).filter(|document| !exists(document, files)) {
                findings.push(text.finding(
                    number,
                    format!("speaks of `{document}`, which is not in the repository"),
                    "say here what that document says, or cite something public",
                ));
            }
        }
    }
    findings
}

/// Whether the folder itself is meant, and not the end of a longer path such as `target/x/`.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        !line[..at]
            .chars()
            .next_back()
            .is_some_and(|before| before.is_alphanumeric() || "_-.}>)*".contains(before))
    })
}

/// The names of documents in capitals: `README.md`, never `notes.md`.
fn documents(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(".md").filter_map(|(end, _)| {
        let after = line[end + 3..].chars().next();
        let start = line[..end]
            .rfind(|letter: char| !(letter.is_ascii_alphanumeric() || "_-".contains(letter)))
            .map_or(0, |before| before + 1);
        let name = &line[start..end];
        let is_document = name.len() >= 3
            && name
                .chars()
                .all(|letter| letter.is_ascii_uppercase() || "_-".contains(letter))
            && !after.is_some_and(char::is_alphanumeric);
        is_document.then(|| &line[start..end + 3])
    })
}

fn exists(document: &str, files: &[String]) -> bool {
    ELSEWHERE.contains(&document) || files.iter().any(|file| file.rsplit('/').next() == Some(document))
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    fn found(line: &str) -> usize {
        check(&[text("docs/a.md", line)], &["README.md".into()]).len()
    }

    #[test]
    fn folders_of_one_machine() {
        for folder in FOLDERS {
            assert_eq!(found(&format!("see {folder}x")), 1, "{folder}");
            assert_eq!(found(&format!("\"{folder}x\"")), 1, "{folder}");
        }
        assert_eq!(found(&format!("target{}x", FOLDERS[0])), 0);
        assert_eq!(found("the work / the root"), 0);
    }

    #[test]
    fn hosts_of_registries() {
        for host in HOSTS {
            assert_eq!(found(&format!("https://{host}/x")), 1, "{host}");
        }
        assert_eq!(found("only crates.io is a source"), 0);
        let lock = text("Cargo.lock", HOSTS[4]);
        assert_eq!(check(&[lock], &[]), []);
    }

    #[test]
    fn documents_that_are_not_here() {
        assert_eq!(found("see README.md, docs/README.md"), 0);
        assert_eq!(found(&format!("see {}.md, §3", "MISSING")), 1);
        assert_eq!(found("a file notes.md, a.mdx, *.md, SKILL.md"), 0);
    }
}
