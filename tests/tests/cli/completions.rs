//! The scripts for shells: given without a look at OpenClaw, and bash can use its own.

use std::process::{Command, Stdio};

use kalit_core::view::SCHEMA;
use serde_json::json;

use super::bed::Bed;

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

#[test]
fn every_shell_gets_a_script_that_knows_the_verbs_and_nothing_is_touched() {
    let bed = Bed::with_accounts();
    let before = bed.state();
    for shell in SHELLS {
        let ran = bed.run(&["completions", shell]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{shell}");
        for verb in ["paste-api-key", "snapshots", "completions", "unpin", "renew"] {
            assert!(ran.stdout.contains(verb), "{shell} does not know {verb}");
        }
        let answer = bed.run(&["completions", shell, "--json"]).json();
        let script = ran.stdout.trim_end();
        assert!(
            answer == json!({"schema": SCHEMA, "shell": shell, "script": script}),
            "another script in JSON for {shell}"
        );
    }
    assert_eq!(bed.state(), before);
    assert!(!bed.path("home/.local").exists(), "no history for a script");
    assert_eq!(bed.run(&["completions", "csh"]).status, 64);
}

#[test]
fn bash_completes_verbs_flags_and_shells() {
    let bed = Bed::new();
    let script = bed.path("kalit.bash");
    bed.write(&script, bed.run(&["completions", "bash"]).stdout);
    assert!(bash(&bed, &["-n", "kalit.bash"]).is_empty());
    let cases = [
        (&["sna"][..], "snapshots"),
        (&["snapshots", "sh"], "show"),
        (&["order", "set", "--prov"], "--provider"),
        (&["completions", "fi"], "fish"),
        (&["frob"], ""),
    ];
    for (words, expected) in cases {
        let ask = "source ./kalit.bash; COMP_WORDS=(kalit \"$@\"); COMP_CWORD=$#; \
                   _kalit kalit \"${COMP_WORDS[$#]}\" \"${COMP_WORDS[$#-1]}\"; echo \"${COMPREPLY[@]}\"";
        let args = [&["-c", ask, "bash"], words].concat();
        assert_eq!(bash(&bed, &args).trim_end(), expected, "{words:?}");
    }
}

/// What bash says; nobody's settings are read.
fn bash(bed: &Bed, args: &[&str]) -> String {
    let mut command = Command::new("/bin/bash");
    command.args(["--noprofile", "--norc"]).args(args);
    bed.dress(&mut command);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
