//! The pinned releases themselves: that they run, and that nothing they do leaves the machine.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use anyhow::{Context, Result};
use kalit_journeys::openclaw::{TestHome, Version, finish, release};

#[tokio::test]
async fn every_pinned_release_tells_its_version() -> Result<()> {
    for version in Version::ALL {
        let release = release(version).await?;
        let started = Instant::now();
        let told = release.run(&TestHome::new()?, &["--version"], None).await?;
        assert!(told.status.success(), "{told:?}");
        assert!(told.stdout.contains(version.as_str()), "{told:?}");
        println!("{}: {:.1} s", version.as_str(), started.elapsed().as_secs_f32());
    }
    Ok(())
}

#[tokio::test]
async fn nothing_leaves_the_machine() -> Result<()> {
    let release = release(Version::V2026_6_1).await?;
    let home = TestHome::new()?;
    let output = release.node_script(&home, "escape.mjs", &[], None).await?;
    let last = output.stdout.lines().last().context("no answer")?;
    let found: BTreeMap<String, String> = serde_json::from_str(last)?;
    let expected = [
        ("connect to IPv6", "ECONNREFUSED"),
        ("connect with options", "ECONNREFUSED"),
        ("connect with port and host", "ECONNREFUSED"),
        ("datagram", "ENETUNREACH"),
        ("fetch by address", "ECONNREFUSED"),
        ("fetch by name", "ECONNREFUSED"),
        ("loopback by address", "reached 127.0.0.1"),
        ("loopback by name", "reached it"),
        ("loopback by port", "reached 127.0.0.1"),
        ("lookup", "ENOTFOUND"),
        ("resolve", "ENOTFOUND"),
    ];
    let expected = expected.map(|(way, outcome)| (way.to_owned(), outcome.to_owned()));
    assert_eq!(found, BTreeMap::from(expected), "{}", output.stderr);
    Ok(())
}

#[tokio::test]
async fn a_named_host_is_led_to_the_local_port() -> Result<()> {
    let release = release(Version::V2026_6_1).await?;
    let home = TestHome::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || -> std::io::Result<String> {
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 4096];
        let length = stream.read(&mut request)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlocal")?;
        Ok(String::from_utf8_lossy(&request[..length]).into_owned())
    });

    let script = home.path().join("ask.mjs");
    let ask = "console.log(await (await fetch('http://auth.openai.com/oauth/token')).text());";
    std::fs::write(&script, ask)?;
    let mut command = release.command(&home, &script);
    command
        .env("LOOP_HOSTS", "auth.openai.com,chatgpt.com")
        .env("LOOP_PORT", port.to_string());
    let output = finish(command, None).await?;
    assert_eq!(output.stdout, "local\n", "{}", output.stderr);
    let request = server
        .join()
        .map_err(|_| anyhow::anyhow!("the server panicked"))??;
    assert!(request.contains("host: auth.openai.com"), "{request}");
    Ok(())
}
