//! UDP servers on the real servers, for the seed's VIP.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use lb_userspace::demo::seed::{self, Host};

use super::Lab;

/// How often a server looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);

/// Sends back every datagram with its name before it, until it is dropped.
pub struct EchoServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Starts one on a real server, on the VIP and `port`.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    #[must_use]
    pub fn start(lab: &Lab, host: Host, port: u16) -> Self {
        let socket = lab.on(host, || UdpSocket::bind((seed::VIP, port))).expect("binds");
        socket.set_read_timeout(Some(LOOK)).expect("sets a limit");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let mut answer = format!("{host} ").into_bytes();
                answer.extend_from_slice(&buffer[..length]);
                // A client that has gone is its own matter.
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Lab {
    /// A UDP socket of the client that talks to the VIP and `port`.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    #[must_use]
    pub fn udp_client(&self, port: u16, timeout: Duration) -> UdpSocket {
        let socket = self.on(Host::Client, || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect((seed::VIP, port))?;
            socket.set_read_timeout(Some(timeout))?;
            Ok(socket)
        });
        socket.expect("a socket")
    }
}

/// Asks over a socket of [`Lab::udp_client`]: which server answered.
///
/// # Errors
///
/// No answer, or one to something else.
pub fn ask(socket: &UdpSocket, question: &str) -> io::Result<String> {
    socket.send(question.as_bytes())?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer)?;
    let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
    match answer.split_once(' ') {
        Some((server, echo)) if echo == question => Ok(server.to_owned()),
        _ => Err(io::Error::other(format!("`{answer}` answers `{question}`"))),
    }
}
