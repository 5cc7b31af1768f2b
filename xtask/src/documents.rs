//! What the documents say that can be checked: that links and pictures lead somewhere, that commands
//! are ones of `kalit`, and that the words in bold are ones that the program shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::cargo::workspace;
use crate::man::arguments::Arguments;

/// Pages for programmers: their bold text is emphasis.
const REFERENCE: [&str; 9] = [
    "ARCHITECTURE.md",
    "SECURITY.md",
    "docs/errors.md",
    "docs/formats.md",
    "docs/json.md",
    "docs/packages.md",
    "docs/providers.md",
    "docs/reliability.md",
    "docs/updates.md",
];

/// A Markdown file of the repository.
struct Document {
    /// From the root, with `/`.
    name: String,
    text: String,
}

/// One stretch of a document.
#[derive(Debug, PartialEq)]
enum Part<'a> {
    /// A paragraph, a table or a list, with its code spans.
    Prose(&'a str),
    /// What stands in a fenced block.
    Block(&'a str),
}

fn documents() -> Vec<Document> {
    let root = workspace();
    let mut names: Vec<String> = ["README.md", "SECURITY.md", "ARCHITECTURE.md"]
        .map(str::to_owned)
        .into();
    names.extend(files(&root.join("docs"), "md"));
    let read = |name: String| Document {
        text: fs::read_to_string(root.join(&name)).unwrap(),
        name,
    };
    names.into_iter().map(read).collect()
}

/// The files in `dir` and below with this extension, named from the root.
fn files(dir: &Path, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|is| is == extension) {
            let name = path.strip_prefix(workspace()).unwrap();
            found.push(name.to_str().unwrap().replace('\\', "/"));
        }
    }
    found.sort();
    found
}

impl Document {
    fn parts(&self) -> Vec<Part<'_>> {
        let fences = self.text.split("\n```");
        fences
            .enumerate()
            .flat_map(|(at, text)| {
                // The rest of the fence's line names a language.
                let text = if at == 0 {
                    text
                } else {
                    text.split_once('\n').map_or("", |(_, rest)| rest)
                };
                if at % 2 == 1 {
                    vec![Part::Block(text)]
                } else {
                    text.split("\n\n").map(Part::Prose).collect()
                }
            })
            .collect()
    }

    /// Everything that is code: spans as one line each, blocks line by line.
    fn code(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for part in self.parts() {
            match part {
                Part::Block(text) => lines.extend(text.lines().map(str::to_owned)),
                Part::Prose(text) => {
                    let pieces: Vec<&str> = text.split('`').collect();
                    assert!(pieces.len() % 2 == 1, "{}: a lone ` in {text:?}", self.name);
                    let spans = pieces.iter().skip(1).step_by(2);
                    lines.extend(spans.map(|span| span.replace('\n', " ")));
                }
            }
        }
        lines
    }

    /// Prose without its code spans.
    fn plain(&self) -> Vec<String> {
        let prose = self.parts().into_iter().filter_map(|part| match part {
            Part::Prose(text) => Some(text),
            Part::Block(_) => None,
        });
        prose
            .map(|text| text.split('`').step_by(2).collect::<Vec<_>>().join("`"))
            .collect()
    }

    /// The targets of links and pictures that are not on the web.
    fn targets(&self) -> Vec<String> {
        let plain = self.plain();
        let after = plain.iter().flat_map(|text| text.split("](").skip(1));
        let targets = after.map(|rest| rest.split(')').next().unwrap_or_default());
        targets
            .filter(|target| !target.contains("://"))
            .map(str::to_owned)
            .collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let plain = self.parts().into_iter().filter_map(|part| match part {
            Part::Prose(text) => Some(text),
            Part::Block(_) => None,
        });
        let lines = plain.flat_map(str::lines);
        let headings = lines.filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
        headings.map(anchor).collect()
    }

    /// What stands between `**` and `**`, on one line each.
    fn bold(&self) -> Vec<String> {
        let plain = self.plain();
        plain
            .iter()
            .flat_map(|text| text.split("**").skip(1).step_by(2))
            .map(|bold| bold.replace('\n', " "))
            .collect()
    }

    /// Where a target of this document lies, from the root, and its anchor.
    fn resolve(&self, target: &str) -> (String, Option<String>) {
        let (path, anchor) = match target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor.to_owned())),
            None => (target, None),
        };
        if path.is_empty() {
            return (self.name.clone(), anchor);
        }
        let mut parts: Vec<&str> = self.name.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        (parts.join("/"), anchor)
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The commands of `kalit` in a line of code, each without the program's name.
fn commands(line: &str) -> Vec<Vec<String>> {
    // What a shell puts in is one argument, whatever it is.
    let line: String = line
        .split("$(")
        .enumerate()
        .map(|(at, text)| match text.split_once(')') {
            Some((_, rest)) if at > 0 => format!("$x{rest}"),
            _ => text.to_owned(),
        })
        .collect();
    let mut found = Vec::new();
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if word.rsplit(['/', '=']).next() != Some("kalit") {
            continue;
        }
        let mut command = Vec::new();
        while let Some(word) = words.next_if(|word| !ends_a_command(word)) {
            command.push(word.to_owned());
        }
        found.push(command);
    }
    found
}

/// A pipe, a redirection, a comment; but `<file>` is an argument that a person puts in.
fn ends_a_command(word: &str) -> bool {
    let placeholder = word.starts_with('<') && word.ends_with('>');
    !placeholder && (word.starts_with(['|', '>', '<', '#', '&', ';']) || word.starts_with("2>"))
}

/// Why a command is none of `kalit`, if it is not.
fn wrong(root: &Command, words: &[String]) -> Option<String> {
    let mut command = root;
    let mut positionals = 0;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(flag) = word.strip_prefix("--") {
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            if name == "help" || name == "version" {
                continue;
            }
            let own = command.get_arguments();
            let everywhere = root.get_arguments().filter(|arg| arg.is_global_set());
            let Some(arg) = own.chain(everywhere).find(|arg| arg.get_long() == Some(name)) else {
                return Some(format!("{} has no --{name}", command.get_name()));
            };
            if arg.get_action().takes_values() && value.is_none() && words.next().is_none() {
                return Some(format!("--{name} needs a value"));
            }
        } else if command.has_subcommands() {
            match command.find_subcommand(word) {
                Some(below) => command = below,
                None => return Some(format!("{} has no {word}", command.get_name())),
            }
        } else {
            positionals += 1;
        }
    }
    let takes_many = |arg: &&Arg| matches!(arg.get_action(), ArgAction::Append);
    let room = match command.get_positionals().find(takes_many) {
        Some(_) => usize::MAX,
        None => command.get_positionals().count(),
    };
    (positionals > room).then(|| format!("{} takes {room} arguments", command.get_name()))
}

#[test]
fn every_link_and_picture_leads_somewhere() {
    let documents = documents();
    let anchors: BTreeMap<&str, BTreeSet<String>> = documents
        .iter()
        .map(|document| (document.name.as_str(), document.anchors()))
        .collect();
    let mut broken = Vec::new();
    let mut looked_at = 0;
    for document in &documents {
        for target in document.targets() {
            looked_at += 1;
            let (path, anchor) = document.resolve(&target);
            let there = workspace().join(&path).is_file()
                && anchor.is_none_or(|anchor| {
                    anchors
                        .get(path.as_str())
                        .is_some_and(|known| known.contains(&anchor))
                });
            if !there {
                broken.push(format!("{}: {target}", document.name));
            }
        }
    }
    assert!(looked_at > 50, "only {looked_at} links were found");
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn every_page_and_picture_is_led_to() {
    let documents = documents();
    let readme = &documents[0];
    let led_to = |from: &[&Document]| -> BTreeSet<String> {
        let targets = from.iter().flat_map(|document| {
            document
                .targets()
                .into_iter()
                .map(|target| document.resolve(&target).0)
        });
        targets.collect()
    };
    let from_readme = led_to(&[readme]);
    let pages = files(&workspace().join("docs"), "md");
    let lost: Vec<&String> = pages.iter().filter(|page| !from_readme.contains(*page)).collect();
    assert!(lost.is_empty(), "the README does not name {lost:?}");
    let shown = led_to(&documents.iter().collect::<Vec<_>>());
    for picture in files(&workspace().join("docs"), "png") {
        assert!(shown.contains(&picture), "no page shows {picture}");
        let size = fs::metadata(workspace().join(&picture)).unwrap().len();
        assert!(size < 60_000, "{picture} has {size} bytes");
    }
}

#[test]
fn every_command_is_one_of_kalits() {
    let root = Arguments::command();
    let mut found = 0;
    let mut errors = Vec::new();
    for document in documents() {
        for line in document.code() {
            for command in commands(&line) {
                found += 1;
                if let Some(why) = wrong(&root, &command) {
                    errors.push(format!("{}: {line:?}: {why}", document.name));
                }
            }
        }
    }
    assert!(found > 100, "only {found} commands were found");
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn words_in_bold_are_on_the_screen() {
    let root = workspace();
    let sources = ["ui", "lang", "src-tauri"];
    let extensions = ["js", "json", "rs"];
    let mut program = String::new();
    for (source, extension) in sources
        .iter()
        .flat_map(|source| extensions.map(|it| (source, it)))
    {
        for file in files(&root.join(source), extension) {
            program.push_str(&fs::read_to_string(root.join(file)).unwrap());
        }
    }
    let pages = documents()
        .into_iter()
        .filter(|page| !REFERENCE.contains(&page.name.as_str()));
    let mut words = BTreeSet::new();
    for page in pages {
        words.extend(page.bold().into_iter().map(|bold| (page.name.clone(), bold)));
    }
    let unknown: Vec<_> = words
        .iter()
        .filter(|(_, bold)| {
            !['\'', '"', '`']
                .iter()
                .any(|quote| program.contains(&format!("{quote}{bold}")))
        })
        .collect();
    assert!(words.len() > 60, "only {} were found", words.len());
    assert!(unknown.is_empty(), "the program does not say {unknown:#?}");
}

#[test]
fn what_is_wrong_is_found() {
    let root = Arguments::command();
    let judged = |line: &str| {
        let all: Vec<_> = commands(line)
            .iter()
            .map(|command| wrong(&root, command))
            .collect();
        all.into_iter()
            .map(|why| why.unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let cases: [(&str, &[&str]); 13] = [
        ("kalit status --check > /dev/null || mail ann", &[""]),
        ("kalit satus", &["kalit has no satus"]),
        ("kalit order reset", &["order has no reset"]),
        ("kalit status --chek", &["status has no --chek"]),
        ("kalit use a b", &["use takes 1 arguments"]),
        ("kalit login openai --agent", &["--agent needs a value"]),
        ("kalit order set --provider openai <a> <b> <c>", &[""]),
        ("ExecStart=%h/.local/bin/kalit wach", &["kalit has no wach"]),
        (
            "target/debug/kalit status --json | kalit lst",
            &["", "kalit has no lst"],
        ),
        ("kalit snapshots show 01795887870307-f6f18fd5 # one", &[""]),
        (
            "kalit settings set mutedUntil $(date -d 'tomorrow 8:00' +%s000)",
            &[""],
        ),
        ("apt install kalit-desktop", &[]),
        ("\"cause\":\"kalit\"", &[]),
    ];
    for (line, expected) in cases {
        assert_eq!(judged(line), expected, "{line}");
    }
    let page = Document {
        name: "docs/a.md".to_owned(),
        text: "# A page: it's\n\n[b](b.md#x) ![c](../c.png) `[d](d.md)` [e](https://e.example)\n\n```\n[f](f.md)\nkalit x\n```\n\n`kalit\ny`\n".to_owned(),
    };
    assert_eq!(page.targets(), ["b.md#x", "../c.png"]);
    assert_eq!(
        page.resolve("b.md#x"),
        ("docs/b.md".to_owned(), Some("x".to_owned()))
    );
    assert_eq!(page.resolve("../c.png").0, "c.png");
    assert_eq!(page.anchors(), BTreeSet::from(["a-page-its".to_owned()]));
    let code = page.code();
    assert!(
        code.contains(&"kalit x".to_owned()) && code.contains(&"kalit y".to_owned()),
        "{code:?}"
    );
}
