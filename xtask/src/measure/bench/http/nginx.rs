//! The peer: nginx as Debian ships it, one process with sendfile.
//!
//! Settings are the defaults except for those that a server of files would change: sendfile, tcp_nopush, and limits that admit the
//! idle connections and all requests of a turn. Neither server writes an access log.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::machines::http::HttpServer;
use crate::machines::port::Port;

/// Starts nginx on a free port for the files in `tree`; `scratch` is a directory for its own files.
pub fn start(tree: &Path, scratch: &Path) -> Result<HttpServer> {
    let port = Port::reserve()?;
    let address = (Ipv4Addr::LOCALHOST, port.number()).into();
    let server = HttpServer::spawn(&mut command(&port, tree, scratch)?, address)?;
    Ok(server.holding(port))
}

/// The command that [`start`] runs.
pub fn command(port: &Port, tree: &Path, scratch: &Path) -> Result<Command> {
    let settings = format!(
        "daemon off; master_process off; pid {scratch}/nginx.pid; error_log stderr error;
         events {{ worker_connections 8192; }}
         http {{
             access_log off; sendfile on; tcp_nopush on; autoindex on;
             include /etc/nginx/mime.types; default_type application/octet-stream;
             keepalive_timeout 3600s; keepalive_requests 1000000000;
             server {{ listen 127.0.0.1:{port}; root {tree}; }}
         }}\n",
        scratch = scratch.display(),
        tree = tree.display(),
        port = port.number(),
    );
    let path = scratch.join("nginx.conf");
    fs::write(&path, settings).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(path);
    Ok(command)
}
