use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::answers::{Nodes, PinsMoved, Refused, Severity, Status};
use super::*;
use crate::clock::Moment;
use crate::config::parse;
use crate::control::maintenance::TaskRefused;
use crate::control::pins::PinRefused;
use crate::control::{Bound, NodeChanged, ReadAt, Reloaded, Request};
use crate::governor::{Command, EndpointView, Fault, GroupView, Totals, TurnView, Verdicts, View};
use crate::inspect::tls::Certificate;
use crate::pool::group::MemberView;
use crate::pool::health::{Evidence, Hold, State};
use crate::pool::pins::PinTable;
use crate::pool::placement::PlacementKey;
use crate::pool::select::Standing;
use crate::probe::TurnAnswer;
use crate::relay::diversions::Diversions;
use crate::relay::recognition::Recognition;
use crate::relay::report::Reports;
use crate::resolve;
use crate::snapshot::{Capacity, Registry, Snapshot};

const TEXT: &str = r#"
version = 1
[[pool]]
name = "edge"
  [[pool.node]]
  name = "edge1"
  address = "127.0.0.1:15061"
  [[pool.node]]
  name = "edge2"
  address = "127.0.0.1:15062"
[[listener]]
name = "federation"
bind = "127.0.0.1:0"
service = "federation"
pool = "edge"
"#;

/// An admin API whose governor and control only say yes.
struct Stage {
    shared: Arc<Shared>,
    verdicts: watch::Sender<Verdicts>,
    path: PathBuf,
    port: u16,
}

impl Stage {
    async fn new(name: &str, token: Option<&str>) -> Self {
        let loaded = parse("a.toml", TEXT).unwrap();
        let config = Arc::new(loaded.config);
        let asking = resolve::begin(&config, Vec::new(), Box::new(|_, _| {}));
        let snapshot = Arc::new(Registry::new(1).build(&config));
        let (governor, commands) = mpsc::channel(8);
        let (requests, mailbox) = mpsc::channel(8);
        let (verdicts, watched) = watch::channel(Verdicts::default());
        tokio::spawn(govern(commands, Arc::clone(&snapshot)));
        tokio::spawn(control(mailbox));
        let shared = Arc::new(Shared {
            snapshot: Arc::new(ArcSwap::new(snapshot)),
            pins: Arc::new(PinTable::new(10)),
            placement: Arc::new(PlacementKey::from_bytes([7; 16])),
            governor,
            verdicts: watched,
            requests,
            views: ReadAt::default(),
            bound: ArcSwap::default(),
            administered: ArcSwap::default(),
            capacity: Arc::new(Capacity::new(10)),
            diversions: Arc::new(Diversions::new(1)),
            reports: Reports::new(1).0,
            recognition: Arc::new(Recognition::new(1, 1).0),
            asking,
            chronicle: Arc::default(),
            is_serving: AtomicBool::new(false),
            reload_failures: AtomicU64::new(0),
            started: Timestamp::UNIX_EPOCH,
            source: "a.toml".into(),
            last_failure: ArcSwap::default(),
            restart_needed: ArcSwap::default(),
            store: None,
            token: token.map(Into::into),
            sandbox: crate::control::Sandbox::default(),
        });
        let file = format!("pinfold-admin-{}-{name}.sock", std::process::id());
        let path = std::env::temp_dir().join(file);
        let _ = std::fs::remove_file(&path);
        let unix = UnixListener::bind(&path).unwrap();
        serve(Socket::Unix(unix, path.clone()), Arc::clone(&shared));
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        serve(Socket::Tcp(tcp), Arc::clone(&shared));
        Self {
            shared,
            verdicts,
            path,
            port,
        }
    }

    /// Status and body of the answer to `head` on the unix socket.
    async fn ask(&self, head: &str) -> (u16, String) {
        let stream = UnixStream::connect(&self.path).await.unwrap();
        exchange(stream, &format!("{head} HTTP/1.1\r\nhost: x\r\n\r\n")).await
    }

    /// The same over TCP, with these headers.
    async fn ask_tcp(&self, head: &str, headers: &str) -> u16 {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let port = self.port;
        let text = format!("{head} HTTP/1.1\r\nhost: localhost:{port}\r\n{headers}\r\n");
        exchange(stream, &text).await.0
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn exchange(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    text: &str,
) -> (u16, String) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    read.expect("an answer in time").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.into())
}

async fn govern(mut commands: mpsc::Receiver<Command>, snapshot: Arc<Snapshot>) {
    while let Some(command) = commands.recv().await {
        if let Command::View(answer) = command {
            let _ = answer.send(view(&snapshot));
        }
    }
}

/// The first node is up, the second down.
fn view(snapshot: &Snapshot) -> View {
    let groups = snapshot.groups.iter().map(|plan| GroupView {
        pool: Arc::clone(&plan.key.pool),
        listeners: plan.listeners.clone(),
        certificates_differ: false,
        endpoints: plan
            .members
            .iter()
            .enumerate()
            .map(|(place, member)| EndpointView {
                endpoint: Arc::clone(&member.endpoint),
                health: MemberView {
                    node: Arc::clone(&member.endpoint.node),
                    address: member.probed.socket(),
                    admin: member.configured,
                    state: [State::Up, State::Down][place],
                    since: Moment::now(),
                    standing: [Standing::Takes, Standing::Down][place],
                    evidence: None,
                    failures: 0,
                    hold: None,
                    is_silent: false,
                    is_on_trial: false,
                },
                certificate: None,
                turn: None,
                tls_fault: None,
            })
            .collect(),
    });
    View {
        groups: groups.collect(),
        failovers: Vec::new(),
        totals: Totals::default(),
        probes: 7,
        not_back: 0,
        broken: [0; 4],
    }
}

/// Answers with who asked, where a word of the answer allows it.
async fn control(mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        match request {
            Request::Reload { by, answer, .. } => {
                let _ = answer.send(Ok(Reloaded {
                    revision: 2,
                    changed: true,
                    summary: by,
                    restart_needed: Vec::new(),
                    warnings: Vec::new(),
                    sessions_draining: 0,
                    adopted: Vec::new(),
                }));
            }
            Request::Administer {
                node, by, answer, ..
            } => {
                let _ = answer.send(Ok(vec![NodeChanged {
                    pool: by,
                    node,
                    sessions: 0,
                    sip: 0,
                }]));
            }
            Request::Pin { wish, answer } => {
                let _ = answer.send(Err(PinRefused::NotPinned(wish.by)));
            }
            Request::Unpin { unwish, answer } => {
                let _ = answer.send(Err(PinRefused::NotKept(unwish.by)));
            }
            Request::Import { by, answer, .. } => {
                let _ = answer.send(Err(PinRefused::Mistakes(vec![by])));
            }
            Request::Maintain { answer, .. } => {
                let _ = answer.send(Ok(Vec::new()));
            }
            Request::Move { answer, .. } | Request::Return { answer, .. } => {
                let _ = answer.send(Ok(PinsMoved::default()));
            }
            Request::End { task, answer, .. } => {
                let _ = answer.send(Err(TaskRefused::NotDraining(task.node)));
            }
            Request::Census { answer, .. } => {
                let _ = answer.send(Vec::new());
            }
            Request::Locate { answer, .. } => {
                let _ = answer.send(HashMap::new());
            }
        }
    }
}

#[tokio::test]
async fn answers_can_be_read_back() {
    let stage = Stage::new("answers", None).await;
    let (code, body) = stage.ask("GET /v1/status").await;
    let status: Status = serde_json::from_str(&body).unwrap();
    assert_eq!((code, status.revision, status.ready), (200, 1, false));
    assert_eq!(status.listeners[0].nodes[1].health, "down");
    let (_, body) = stage.ask("GET /v1/nodes").await;
    let nodes: Nodes = serde_json::from_str(&body).unwrap();
    let names: Vec<_> = nodes.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["edge1", "edge2"]);
    let paths = [
        "sessions",
        "partners",
        "pins",
        "failovers",
        "pins?limit=1",
        "explain/192.0.2.1",
        "drill/edge1",
    ];
    for path in paths {
        assert_eq!(stage.ask(&format!("GET /v1/{path}")).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn an_administrator_is_told_what_is_wrong_and_nothing_else() {
    let stage = Stage::new("attention", None).await;
    stage.shared.is_serving.store(true, Relaxed);
    stage.shared.last_failure.store(Some("x".into()).into());
    let (_, body) = stage.ask("GET /v1/status").await;
    let status: Status = serde_json::from_str(&body).unwrap();
    let [down, only, reload] = status.attention.as_slice() else {
        panic!("{:?}", status.attention)
    };
    assert!(down.starts_with("DOWN edge2 since "), "{down}");
    assert_eq!(
        only,
        "ONLY edge1 is left for federation: if it fails, nobody is"
    );
    assert!(reload.ends_with("→ pinfold check a.toml"), "{reload}");
    let severities = |status: &Status| -> Vec<Severity> {
        status.alarms.iter().map(|alarm| alarm.severity).collect()
    };
    assert_eq!(severities(&status), [Severity::Warning; 3]);
    let texts: Vec<_> = status.alarms.iter().map(|alarm| &alarm.text).collect();
    assert_eq!(texts, status.attention.iter().collect::<Vec<_>>());

    stage.shared.is_serving.store(false, Relaxed);
    let (_, body) = stage.ask("GET /v1/status").await;
    let status: Status = serde_json::from_str(&body).unwrap();
    assert_eq!(
        severities(&status)[..2],
        [Severity::Critical, Severity::Warning]
    );
}

#[tokio::test]
async fn a_certificate_that_expires_is_told_once_for_all_who_show_it() {
    let stage = Stage::new("expiring", None).await;
    let mut view = view(&stage.shared.snapshot.load());
    let now = Timestamp::UNIX_EPOCH;
    let certificate = Arc::new(Certificate {
        subject: "sip.contoso.com".into(),
        names: vec!["sip.contoso.com".into()],
        not_before: 0,
        not_after: 12 * 24 * 3600 + 5,
        for_clients: true,
        for_servers: true,
        key: [1; 32],
    });
    for each in &mut view.groups[0].endpoints {
        each.certificate = Some(Arc::clone(&certificate));
    }
    let later = |days: i64| Timestamp::from_second(days * 24 * 3600).unwrap();
    let told = attention::expiring(&view, now);
    assert_eq!(
        told,
        ["CERTIFICATE sip.contoso.com expires in 12 days: edge1, edge2 on federation"]
    );
    assert!(attention::expiring(&view, later(13))[0].contains("has expired"));
    assert!(
        attention::expiring(&view, later(-19)).is_empty(),
        "31 days ahead"
    );
}

#[tokio::test]
async fn an_edge_that_sends_its_clients_astray_is_told_of_and_is_up() {
    let stage = Stage::new("astray", None).await;
    let mut view = view(&stage.shared.snapshot.load());
    let mut says = |fault: Option<Fault>| {
        let each = &mut view.groups[0].endpoints[0];
        let there = match fault {
            Some(Fault::Elsewhere(there)) => there,
            _ => each.endpoint.address.socket(),
        };
        let answer = TurnAnswer {
            code: Some(401),
            alternate: Some(there),
        };
        each.turn = Some(TurnView { answer, fault });
        let metrics = metrics::render(&stage.shared, &view).unwrap();
        let is_measured = |line: &&str| line.starts_with("pinfold_node_addressing_fault{");
        let measured: Vec<_> = metrics.lines().filter(is_measured).collect();
        assert_eq!(measured.len(), 1, "{metrics}");
        let value = measured[0].rsplit(' ').next().unwrap().to_owned();
        let nodes = status::nodes(&stage.shared, &view);
        let turn = nodes.nodes[0].services[0].turn.clone().unwrap();
        (attention::misaddressed(&view), value, turn)
    };
    let (told, measured, turn) = says(None);
    assert_eq!((told.len(), &*measured, turn.fault), (0, "0", None));
    assert_eq!(turn.alternate_server, Some(turn.configured));
    let there = "10.0.0.31:3478".parse().unwrap();
    let (told, measured, turn) = says(Some(Fault::Elsewhere(there)));
    let starts =
        "ADDRESSING edge1 sends clients of federation to 10.0.0.31:3478, and its address is ";
    assert!(told.len() == 1 && told[0].starts_with(starts), "{told:?}");
    assert_eq!(
        (&*measured, turn.fault.as_deref()),
        ("1", Some("elsewhere"))
    );
    for (fault, says_so) in [
        (Fault::Code(486), "refused by 486, not by 401"),
        (Fault::Open, "relays for anybody"),
    ] {
        let (told, measured, _) = says(Some(fault));
        assert!(told[0].contains(says_so), "{told:?}");
        assert_eq!(measured, "0");
    }
}

#[tokio::test]
async fn a_node_that_flaps_is_not_said_to_be_down_because_it_answers() {
    let stage = Stage::new("flapping", None).await;
    let view = view(&stage.shared.snapshot.load());
    let mut health = view.groups[0].endpoints[1].health.clone();
    health.evidence = Some((Evidence::Answered, Moment::now()));
    health.hold = Some(Hold::Flapping(Moment::now() + Duration::from_secs(300)));
    let why = attention::why_down("edge2", &health);
    assert!(why.contains("came and went"), "{why}");
    assert!(why.ends_with("pinfold resume edge2"), "{why}");
}

#[tokio::test]
async fn readiness_names_its_reasons() {
    let stage = Stage::new("ready", None).await;
    assert_eq!(stage.ask("GET /live").await.0, 200);
    let (code, text) = stage.ask("GET /ready").await;
    assert!(code == 503 && text.starts_with("starting"), "{code} {text}");

    let bound = |is_open| {
        vec![Bound {
            listener: "federation".into(),
            address: "127.0.0.1:5061".parse().unwrap(),
            is_open,
        }]
    };
    stage.shared.bound.store(bound(true).into());
    stage.shared.is_serving.store(true, Relaxed);
    assert_eq!(stage.ask("GET /ready").await, (200, "ready\n".into()));

    stage.shared.bound.store(bound(false).into());
    stage
        .verdicts
        .send_modify(|verdicts| verdicts.without_node = vec!["federation".into()]);
    let expected = "listener \"federation\" is closed on 127.0.0.1:5061\n\
                    no node of pool \"edge\" is up for federation\n";
    assert_eq!(stage.ask("GET /ready").await, (503, expected.into()));

    stage.shared.is_serving.store(false, Relaxed);
    assert!(stage.ask("GET /ready").await.1.starts_with("stopping"));
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_a_sentence() {
    let stage = Stage::new("refusals", None).await;
    let cases = [
        ("GET /nothing", 404),
        ("GET /v1/reload", 405),
        ("POST /v1/status", 405),
        ("GET /v1/events", 501),
        ("PUT /v1/pins/fabrikam", 400),
        ("POST /v1/pins/fabrikam", 405),
        ("DELETE /v1/pins/fabrikam", 500),
        ("POST /v1/nodes/edge1/explode", 404),
        ("POST /v1/nodes/edge1/drain?deadline=soon", 400),
        ("POST /v1/nodes/edge1/resume?deadline=1m", 400),
        ("POST /v1/nodes/edge1/drain?reason=a%0Ab", 400),
    ];
    for (head, expected) in cases {
        let (code, body) = stage.ask(head).await;
        let refused: Refused = serde_json::from_str(&body).unwrap();
        assert_eq!(code, expected, "{head}");
        assert!(!refused.error.is_empty());
    }
}

#[tokio::test]
async fn a_change_on_the_unix_socket_says_who_asked() {
    let stage = Stage::new("who", None).await;
    let uid = format!("uid {}", rustix::process::getuid().as_raw());
    let (code, body) = stage.ask("POST /v1/nodes/edge1/drain?deadline=10m").await;
    assert!(
        code == 200 && body.contains(&uid) && body.contains("\"deadline_s\":600"),
        "{body}"
    );
    let (code, body) = stage.ask("POST /v1/reload?plan=true&reason=CHG%201").await;
    assert!(code == 200 && body.contains(": CHG 1\""), "{body}");
}

#[tokio::test]
async fn over_tcp_a_change_needs_the_token_and_everything_the_right_host() {
    let stage = Stage::new("tcp", Some("s3cret")).await;
    assert_eq!(stage.ask_tcp("GET /v1/status", "").await, 200);
    assert_eq!(
        stage
            .ask_tcp("GET /v1/status", "host: evil.example\r\n")
            .await,
        403
    );
    assert_eq!(
        stage
            .ask_tcp("GET /live", "origin: http://evil.example\r\n")
            .await,
        403
    );
    assert_eq!(stage.ask_tcp("POST /v1/reload", "").await, 403);
    assert_eq!(
        stage
            .ask_tcp("POST /v1/reload", "authorization: Bearer x\r\n")
            .await,
        403
    );
    assert_eq!(
        stage
            .ask_tcp("POST /v1/reload", "authorization: Bearer s3cret\r\n")
            .await,
        200
    );
}

#[tokio::test]
async fn clients_that_say_nothing_or_too_much_harm_nobody() {
    let stage = Stage::new("slow", None).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(UnixStream::connect(&stage.path).await.unwrap());
    }
    assert_eq!(stage.ask("GET /live").await.0, 200);
    let long = format!("GET /{}", "a".repeat(100_000));
    let mut greedy = UnixStream::connect(&stage.path).await.unwrap();
    let _ = greedy.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), greedy.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    // More than there are places: those who say nothing lose theirs.
    for _ in 0..40 {
        silent.push(UnixStream::connect(&stage.path).await.unwrap());
    }
    assert_eq!(stage.ask("GET /live").await.0, 200);
}

#[tokio::test]
async fn the_metrics_are_open_metrics() {
    let stage = Stage::new("metrics", None).await;
    let (code, text) = stage.ask("GET /metrics").await;
    assert_eq!(code, 200);
    assert!(text.ends_with("\n# EOF\n"));
    let mut families = std::collections::HashSet::new();
    let mut family = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.split(' ');
        match words.next().unwrap() {
            "#" => {
                let (what, name) = (words.next().unwrap(), words.next().unwrap());
                if what == "HELP" {
                    assert!(families.insert(name.to_owned()), "{name} stands twice");
                    assert!(!name.ends_with("_total"), "{name}");
                    family = name.into();
                }
            }
            sample => {
                assert!(sample.starts_with(&family), "{sample} is not of {family}");
                let value = line.rsplit(' ').next().unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }
    for line in [
        "pinfold_config_revision 1",
        "pinfold_probes_total 7",
        concat!(
            "pinfold_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
        "pinfold_sessions_active{listener=\"federation\",service=\"federation\",pool=\"edge\"} 0",
        "pinfold_sessions_total{listener=\"federation\",outcome=\"node-down\"} 0",
        "pinfold_bytes_total{listener=\"federation\",direction=\"up\"} 0",
        "pinfold_node_up{pool=\"edge\",node=\"edge1\",listener=\"federation\"} 1",
        "pinfold_node_up{pool=\"edge\",node=\"edge2\",listener=\"federation\"} 0",
        "pinfold_node_standing{pool=\"edge\",node=\"edge2\",listener=\"federation\"} 5",
        "pinfold_pins{kind=\"partner\"} 0",
        "pinfold_failovers_total{pool=\"edge\",node=\"edge1\"} 0",
        "pinfold_failover_seconds_bucket{le=\"+Inf\"} 0",
        "pinfold_reload_failures_total 0",
        "pinfold_replays_total{listener=\"federation\"} 0",
        "pinfold_reports_dropped_total 0",
        "pinfold_source_ports_used{pool=\"edge\",node=\"edge1\",listeners=\"federation\",address=\"127.0.0.1:15061\"} 0",
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "{line} is missing in\n{text}"
        );
    }
}
