//! Real clients and servers: nginx as nodes, `curl`, `h2load` and a headless Chromium before them.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Output};

use pinfold_loadtest::process::{Process, free_ports, wait_until};

use super::{Directory, SOON, Site, World, before, before_all};
use crate::world::program;

/// Runs `command`, which must end well and soon.
fn run(command: &mut Command, directory: &Directory) -> Output {
    let (told, said) = (directory.path().join("told"), directory.path().join("said"));
    let mut running = command
        .stdout(fs::File::create(&told).unwrap())
        .stderr(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let status = wait_until(SOON * 6, || running.try_wait().unwrap());
    let _ = running.kill();
    let _ = running.wait();
    let output = Output {
        status: status.unwrap_or_else(|| panic!("{command:?} goes on")),
        stdout: fs::read(told).unwrap(),
        stderr: fs::read(said).unwrap(),
    };
    assert!(output.status.success(), "{output:?}");
    output
}

/// An nginx that serves a page of 100 KiB, one that says its name, and whatever is sent to it.
fn nginx(directory: &Directory, name: &str) -> Option<(Process, SocketAddr)> {
    let program = program("nginx", "nginx")?;
    let port = free_ports(1).unwrap()[0];
    let here = directory.path().join(name);
    fs::create_dir(&here).unwrap();
    fs::write(here.join("large"), "0123456789".repeat(10_000)).unwrap();
    let root = here.display();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log stderr crit;\nevents {{}}\n\
         http {{\naccess_log off;\nclient_body_temp_path {root};\nproxy_temp_path {root};\n\
         fastcgi_temp_path {root};\nuwsgi_temp_path {root};\nscgi_temp_path {root};\n\
         server {{\nlisten 127.0.0.1:{port};\nroot {root};\n\
         location = /name {{ default_type text/html; return 200 \"<p id=who>{name}</p>\"; }}\n}}\n}}\n"
    );
    let file = here.join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-e").arg("stderr").arg("-c").arg(&file);
    let process = Process::spawn(&mut command).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let accepts = || std::net::TcpStream::connect(address).ok();
    assert!(wait_until(SOON, accepts).is_some(), "{}", process.output());
    Some((process, address))
}

/// Two of them behind a listener that ends TLS.
fn before_nginx(directory: &Directory) -> Option<(World, [Process; 2])> {
    let (one, first) = nginx(directory, "web1")?;
    let (two, second) = nginx(directory, "web2")?;
    let world = before_all(&[first, second], directory, "pin = \"cookie\"");
    Some((world, [one, two]))
}

#[test]
fn trailers_of_a_request_over_http_2_pass_where_they_are_announced() {
    let directory = Directory::create();
    let Some(nghttp) = program("nghttp", "nghttp2-client") else {
        return;
    };
    let site = Site::start("web1");
    let world = before(&[&site], &directory, "pin = \"cookie\"");
    let file = directory.path().join("body");
    fs::write(&file, "0123456789").unwrap();
    for target in ["/with-length", "/without"] {
        let mut command = Command::new(&nghttp);
        command.args(["--trailer", "x-sum: 42", "-H", "trailer: x-sum", "-d"]);
        command.arg(&file);
        if target == "/without" {
            command.arg("--no-content-length");
        }
        command.arg(format!("https://{}{target}", world.address()));
        run(&mut command, &directory);
        let asked = site.wait_asked(target);
        assert_eq!(asked.body, b"0123456789", "{asked:?}");
        assert_eq!(asked.trailers, "x-sum: 42\n", "{asked:?}");
    }
}

#[test]
fn thousands_of_requests_over_http_2_and_1_are_all_answered_by_nginx() {
    let directory = Directory::create();
    let Some(h2load) = program("h2load", "nghttp2-client") else {
        return;
    };
    let Some((world, _nodes)) = before_nginx(&directory) else {
        return;
    };
    let address = world.address();
    for version in [&["-m", "20"][..], &["--h1"]] {
        let mut command = Command::new(&h2load);
        command.args(["-n", "2000", "-c", "20"]).args(version);
        command.args(["/name", "/large"].map(|path| format!("https://{address}{path}")));
        let output = run(&mut command, &directory);
        let told = String::from_utf8(output.stdout).unwrap();
        let all =
            "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(told.contains(all), "{told}");
        assert!(told.contains("status codes: 2000 2xx"), "{told}");
    }
    let counted = "pinfold_http_responses_total{listener=\"federation\",class=\"2xx\"}";
    assert_eq!(world.pinfold.metric(counted), Some(4000.0));
}

#[test]
fn a_browser_shows_the_page_of_a_node_and_ours_where_there_is_none() {
    let directory = Directory::create();
    let Some(chromium) = program("chromium", "chromium") else {
        return;
    };
    let site = Site::start("web1");
    let world = before(&[&site], &directory, "pin = \"cookie\"");
    let show = |path: &str| {
        let mut command = Command::new(&chromium);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--ignore-certificate-errors",
        ]);
        command.args([
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-extensions",
        ]);
        let profile = directory.path().join("profile");
        command.arg(format!("--user-data-dir={}", profile.display()));
        command.args(["--virtual-time-budget=3000", "--dump-dom"]);
        command.arg(format!("https://{}{path}", world.address()));
        let output = run(&mut command, &directory);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = show("/page");
    assert!(shown.contains("web1 GET /page"), "{shown}");
    site.die();
    let shown = show("/page");
    assert!(shown.contains("on listener “federation”"), "{shown}");
}
