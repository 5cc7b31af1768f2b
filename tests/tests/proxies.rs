//! Token requests through a proxy, end to end: `kalit refresh` with the variables that people set,
//! an endpoint with TLS, and the proxy's own log of what went through it.

use anyhow::Result;
use kalit_journeys::kalit::{Kalit, Ran};
use kalit_journeys::openclaw::{Version, read_json, write_json};
use kalit_journeys::proxy::Proxy;
use kalit_journeys::renewal::Scene;
use kalit_journeys::token_endpoint::Door;
use serde_json::json;

#[tokio::test]
async fn a_renewal_goes_through_the_proxy_that_the_environment_names() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::start(None).await?;
    let port = bed.scene.endpoint.tls_port();
    let (connect, socks) = (
        format!("CONNECT 127.0.0.1:{port}"),
        format!("SOCKS5 127.0.0.1:{port}"),
    );
    let http = format!("http://{}", proxy.address());
    let cases = [
        ("HTTPS_PROXY", http.clone(), &connect),
        ("https_proxy", http.clone(), &connect),
        ("ALL_PROXY", http, &connect),
        ("ALL_PROXY", format!("socks5://{}", proxy.address()), &socks),
        ("all_proxy", format!("socks5h://{}", proxy.address()), &socks),
        ("HTTPS_PROXY", format!("socks5://{}", proxy.address()), &socks),
    ];
    for (number, (name, value, logged)) in cases.iter().enumerate() {
        let ran = bed.refresh(&[(name, value)]).await?;
        assert_eq!(
            (ran.code, ran.result()?),
            (0, "refreshed".to_owned()),
            "{name}={value}: {ran:?}"
        );
        assert_eq!(
            proxy.log().get(number..),
            Some(&[(*logged).clone()][..]),
            "{name}={value}"
        );
        assert_eq!(bed.scene.doors(), vec![Door::Tls; number + 1], "{name}={value}");
        bed.scene.settled()?;
    }
    bed.scene.openclaw_uses_the_answer().await
}

#[tokio::test]
async fn what_no_proxy_names_goes_past_the_proxy() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::start(None).await?;
    let url = format!("http://{}", proxy.address());
    for (number, exception) in [
        ("NO_PROXY", "127.0.0.1"),
        ("no_proxy", "example.com, 127.0.0.0/8"),
        ("NO_PROXY", "*"),
    ]
    .iter()
    .enumerate()
    {
        let ran = bed
            .refresh(&[("HTTPS_PROXY", &url), ("ALL_PROXY", &url), *exception])
            .await?;
        assert_eq!(
            (ran.code, ran.result()?),
            (0, "refreshed".to_owned()),
            "{exception:?}: {ran:?}"
        );
        assert_eq!(bed.scene.doors(), vec![Door::Tls; number + 1], "{exception:?}");
        assert_eq!(proxy.log(), Vec::<String>::new(), "{exception:?}");
        bed.scene.settled()?;
    }
    // An exception for others is none for this endpoint.
    bed.refresh(&[("HTTPS_PROXY", &url), ("NO_PROXY", "example.com")])
        .await?;
    assert_eq!(proxy.log().len(), 1);
    bed.scene.openclaw_uses_the_answer().await
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_and_nothing_is_sent() -> Result<()> {
    let bed = Bed::new().await?;
    let before = read_json(&bed.scene.home.profiles_path("main"))?;
    let proxy = Proxy::start(Some("me:right-password")).await?;
    let target = format!("127.0.0.1:{}", bed.scene.endpoint.tls_port());

    let wrong = format!("http://me:wrong-password@{}", proxy.address());
    let ran = bed.refresh(&[("HTTPS_PROXY", &wrong)]).await?;
    assert_eq!(
        (ran.code, ran.error_code()?),
        (69, "network.unreachable".to_owned()),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("the proxy"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("wrong-password"), "{ran:?}");
    assert_eq!(proxy.log(), [format!("refused CONNECT {target}")]);
    assert_eq!(bed.scene.doors(), []);
    assert_eq!(read_json(&bed.scene.home.profiles_path("main"))?, before);
    // Nothing was sent, so nothing is in doubt.
    let account = bed.kalit.account("main", &bed.scene.profile).await?;
    assert_eq!(account["state"], "expired", "{account}");

    let right = format!("http://me:right-password@{}", proxy.address());
    let ran = bed.refresh(&[("HTTPS_PROXY", &right)]).await?;
    assert_eq!((ran.code, ran.result()?), (0, "refreshed".to_owned()), "{ran:?}");
    assert_eq!(proxy.log().last(), Some(&format!("CONNECT {target}")));
    bed.scene.settled()
}

/// A scene in which Kalit renews over TLS.
struct Bed {
    scene: Scene,
    kalit: Kalit,
}

impl Bed {
    async fn new() -> Result<Self> {
        let scene = Scene::new(Version::V2026_6_1).await?;
        let mut manifest = scene.endpoint.manifest(&[1455]);
        let port = scene.endpoint.tls_port();
        manifest["tokenUrl"] = json!(format!("https://127.0.0.1:{port}/oauth/token"));
        write_json(&scene.home.path().join("kalit/providers/openai.json"), &manifest)?;
        let authority = scene.endpoint.ca_file();
        let kalit = scene
            .kalit
            .clone()
            .with_var("SSL_CERT_FILE", authority.to_string_lossy());
        Ok(Self { scene, kalit })
    }

    async fn refresh(&self, vars: &[(&str, &str)]) -> Result<Ran> {
        let kalit = vars.iter().fold(self.kalit.clone(), |kalit, (name, value)| {
            kalit.with_var(name, *value)
        });
        kalit.run(&["refresh", &self.scene.profile, "--json"]).await
    }
}
