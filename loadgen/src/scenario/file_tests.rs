use super::*;

fn only(phase: &str) -> Task {
    parse(&format!("[[phase]]\n{phase}"))
        .unwrap()
        .remove(0)
        .task
}

#[test]
fn a_phase_of_each_kind_is_read() {
    let text = r#"
        phase = [
            { kind = "connect", topics = ["all"], rate = 0, in_flight = 2000 },
            { kind = "idle", duration = "30s" },
            { kind = "broadcast" },
            { kind = "subscribe", prefix = "t.", count = 10000, per_connection = 3, zipf = 1.0 },
            { kind = "publish", prefix = "t.", rate = 50.5, duration = "1m" },
            { kind = "churn", percent_per_s = 1, duration = "10s" },
            { kind = "storm", percent = 20, name = "cable-cut" },
            { kind = "leave", percent = 50 },
            { kind = "return", rate = 1000 },
            { kind = "verify" },
        ]"#;
    let steps = parse(text).unwrap();
    let kinds: Vec<_> = steps.iter().map(|step| step.task.kind()).collect();
    assert_eq!(kinds, KINDS);
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!((names[0], names[6]), ("connect", "cable-cut"));
}

#[test]
fn what_is_left_out_has_its_default() {
    let Task::Broadcast {
        topic,
        publishes,
        payload_bytes,
        ..
    } = only("kind = \"broadcast\"")
    else {
        panic!("no broadcast");
    };
    assert_eq!((topic, publishes, payload_bytes), (None, 20, PAYLOAD_BYTES));
    let calibrated =
        "kind = \"publish\"\nprefix = \"t.\"\nduration = \"9s\"\ntarget_server_cpu = 0.7";
    let Task::Publish {
        calibration: Some(calibration),
        per_s,
        ..
    } = only(calibrated)
    else {
        panic!("no calibration");
    };
    assert_eq!((calibration.length, per_s), (Duration::from_secs(5), 100.0));
}

#[test]
fn what_is_wrong_is_told_in_one_sentence_with_the_nearest_name() {
    for (text, sentence) in [
        ("", "there is no phase"),
        ("phase = 3", "there is no phase"),
        ("phase = [3]", "phase 1: must be a [[phase]] table"),
        ("[[phase]", "this is no TOML"),
        ("[[phases]]\nkind = \"idle\"", "unknown key \"phases\""),
        (
            "[[phase]]\nname = \"x\"",
            "phase 1 (without kind): the key \"kind\" is missing",
        ),
        (
            "[[phase]]\nknid = \"idle\"",
            "the key \"kind\" is missing: is \"knid\" meant to be it?",
        ),
        (
            "[[phase]]\nkind = \"brodcast\"",
            "unknown kind \"brodcast\": did you mean \"broadcast\"?",
        ),
        (
            "[[phase]]\nkind = \"zzz\"",
            "unknown kind \"zzz\": known are connect, idle",
        ),
        (
            "[[phase]]\nkind = \"idle\"",
            "phase 1 (idle): the key \"duration\" is missing",
        ),
        (
            "[[phase]]\nkind = \"idle\"\ndurration = \"1s\"",
            "is \"durration\" meant to be it?",
        ),
        (
            "[[phase]]\nkind = \"idle\"\nduration = 5",
            "\"duration\" must be a string, not integer",
        ),
        (
            "[[phase]]\nkind = \"idle\"\nduration = \"5\"",
            "give a number and a unit",
        ),
        (
            "[[phase]]\nkind = \"verify\"\nduration = \"5s\"",
            "unknown key \"duration\"",
        ),
        (
            "[[phase]]\nkind = \"leave\"\npercent = 101",
            "more than 0 and at most 100",
        ),
        (
            "[[phase]]\nkind = \"return\"\nrate = -1",
            "must be 0 to 1000000000",
        ),
        (
            "[[phase]]\nkind = \"return\"\nrat = 1",
            "unknown key \"rat\": did you mean \"rate\"?",
        ),
        (
            "[[phase]]\nkind = \"connect\"\ntopics = [1]",
            "\"topics\" must hold strings",
        ),
        (
            "[[phase]]\nkind = \"broadcast\"\npublishes = 0",
            "must be 1 to 10000000",
        ),
        (
            "[[phase]]\nkind = \"broadcast\"\npayload_bytes = 3",
            "must be at least",
        ),
        (
            "[[phase]]\nkind = \"idle\"\nduration = \"1s\"\nname = \"a/b\"",
            "it names files",
        ),
        (
            "[[phase]]\nkind = \"publish\"\nprefix = \"t\"\nduration = \"1s\"",
            "\"rate\" is missing",
        ),
        (
            "[[phase]]\nkind = \"subscribe\"\nprefix = \"t\"\ncount = 2\nper_connection = 3",
            "is more than the 2 topics",
        ),
    ] {
        let error = format!("{:#}", parse(text).unwrap_err());
        assert!(error.contains(sentence), "{text}\n{error}");
    }
}
