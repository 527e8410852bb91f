//! Debian's nginx in front of a server, with its defaults.

use std::net::SocketAddr;
use std::process::Stdio;

use crate::support::child::{self, Child};
use crate::support::ports::Reserved;

pub struct Nginx {
    port: Reserved,
    _child: Child,
}

impl Nginx {
    /// Listens soon; `more` are directives of the location.
    pub fn start(upstream: SocketAddr, more: &str) -> Nginx {
        let (port, folder) = (Reserved::new(), child::fresh_folder("nginx"));
        let program = child::find("nginx").expect("nginx: deploy/local/test pages unpacks it");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};", folder.display()))
            .join(" ");
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "{user} daemon off; pid {folder}/pid; error_log stderr error; events {{}}
             http {{ access_log off; {temporary}
               server {{ listen {listen};
                 location / {{ proxy_pass http://{upstream}; proxy_set_header Host $http_host; {more} }} }} }}",
            folder = folder.display(),
            listen = port.addr(),
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text).expect("a configuration");
        let mut command = child::command(&program);
        command.arg("-p").arg(&folder).arg("-c").arg(&file).args(["-e", "stderr"]).stdin(Stdio::null());
        Nginx { port, _child: Child::spawn(command).expect("start nginx") }
    }

    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }
}
