//! The world of a soak, and what is done to it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fleet_testkit::{Door, Postgres, Sshd};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::{Book, Cut, Dice, Shared};
use crate::support::Site;

const SERVERS: usize = 3;
/// A server that was stopped past its lease needs so long to notice and to close what it has open.
const COMES_TO: Duration = Duration::from_secs(8);

/// Milliseconds of the wall clock.
pub(super) fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Servers, their ways to the database, the database, and the hosts.
pub(super) struct World<'a> {
    site: &'a Site,
    servers: Vec<Mutex<Server>>,
    ways: Vec<Door>,
    urls: Vec<String>,
    postgres: &'static Postgres,
    /// Held while the database is down, and while a server starts.
    database: tokio::sync::Mutex<()>,
    hosts: Vec<(Sshd, Door)>,
    folder: PathBuf,
    book: Shared,
}

/// One server.
struct Server {
    child: Child,
    address: String,
    /// Stopped, or awake again for too short a time to be held to the limit of connections.
    asleep_until: Option<Instant>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> World<'a> {
    pub(super) async fn start(
        site: &'a Site,
        postgres: &'static Postgres,
        hosts: Vec<(Sshd, Door)>,
        book: Shared,
    ) -> Self {
        let ways: Vec<Door> = (0..SERVERS).map(|_| Door::to(postgres.port())).collect();
        let through = |way: &Door| {
            let port = way.port().to_string();
            site.database_url()
                .replace(&postgres.port().to_string(), &port)
        };
        let urls = ways.iter().map(through).collect();
        let folder = site.path("soak");
        fs::create_dir(&folder).unwrap();
        let mut world = Self {
            site,
            servers: Vec::new(),
            ways,
            urls,
            postgres,
            database: tokio::sync::Mutex::default(),
            hosts,
            folder,
            book,
        };
        for number in 0..SERVERS {
            let server = world.serve(number).await;
            world.servers.push(Mutex::new(server));
        }
        world
    }

    async fn serve(&self, number: usize) -> Server {
        let began = Instant::now();
        loop {
            let _up = self.database.lock().await;
            let port_file = self.folder.join(format!("port-{}", uuid::Uuid::now_v7()));
            let log = self.folder.join(format!("server-{number}.log"));
            let log = fs::File::options()
                .create(true)
                .append(true)
                .open(log)
                .unwrap();
            let mut command = self.site.server_command(&self.urls[number], &port_file);
            command.stdout(Stdio::null()).stderr(log);
            let mut child = command.spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                if let Ok(address) = fs::read_to_string(&port_file) {
                    return Server {
                        child,
                        address: address.trim().to_owned(),
                        asleep_until: None,
                    };
                }
                sleep(Duration::from_millis(20)).await;
            }
            assert!(
                began.elapsed() < Duration::from_secs(90),
                "server {number} does not start"
            );
            sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        let address = |server: &Mutex<Server>| server.lock().unwrap().address.clone();
        self.servers.iter().map(address).collect()
    }

    /// Process ids of those that run and have done so for a while.
    pub(super) fn awake(&self) -> Vec<u32> {
        let awake = |server: &Mutex<Server>| {
            let mut server = server.lock().unwrap();
            let asleep = server
                .asleep_until
                .is_some_and(|until| until > Instant::now());
            let ended = server.child.try_wait().unwrap().is_some();
            (!asleep && !ended).then(|| server.child.id())
        };
        self.servers.iter().filter_map(awake).collect()
    }

    /// The ports that hosts are reached by.
    pub(super) fn host_ports(&self) -> Vec<u16> {
        self.hosts.iter().map(|(_, door)| door.port()).collect()
    }

    fn note(&self, fault: &'static str) {
        self.book.lock().unwrap().faults.push((wall(), fault));
    }

    /// Kills, stops and cuts off servers, one after another.
    pub(super) async fn trouble_servers(&self, mut dice: Dice) {
        loop {
            sleep(dice.millis(1500, 7000)).await;
            let number = usize::try_from(dice.roll(SERVERS as u64)).unwrap();
            match dice.roll(10) {
                0..=4 => self.kill(number, dice.millis(0, 3000)).await,
                5..=7 => self.freeze(number, dice.millis(7000, 12000)).await,
                _ => {
                    self.note("server cut off from the database");
                    self.ways[number].close();
                    sleep(dice.millis(500, 9000)).await;
                    self.ways[number].open();
                }
            }
        }
    }

    async fn kill(&self, number: usize, away: Duration) {
        {
            let mut server = self.servers[number].lock().unwrap();
            self.note("server killed");
            server.child.kill().unwrap();
            server.child.wait().unwrap();
        }
        sleep(away).await;
        let new = self.serve(number).await;
        *self.servers[number].lock().unwrap() = new;
    }

    async fn freeze(&self, number: usize, length: Duration) {
        let signal = |signal| {
            let server = self.servers[number].lock().unwrap();
            let id = Pid::from_raw(i32::try_from(server.child.id()).unwrap()).unwrap();
            kill_process(id, signal).unwrap();
        };
        self.note("server stopped past its lease");
        self.servers[number].lock().unwrap().asleep_until =
            Some(Instant::now() + length + COMES_TO);
        signal(Signal::STOP);
        sleep(length).await;
        signal(Signal::CONT);
    }

    /// Cuts hosts off, and lets the database crash.
    pub(super) async fn trouble_the_rest(&self, mut dice: Dice) {
        loop {
            sleep(dice.millis(1000, 6000)).await;
            if dice.roll(8) == 0 {
                let _down = self.database.lock().await;
                self.note("database crashed");
                tokio::task::block_in_place(|| self.postgres.crash());
                sleep(dice.millis(300, 6000)).await;
                tokio::task::block_in_place(|| self.postgres.start_again());
            } else {
                let number = usize::try_from(dice.roll(self.hosts.len() as u64)).unwrap();
                let door = &self.hosts[number].1;
                self.note("host cut off");
                let cut = self.begin_cut(number);
                door.close();
                sleep(dice.millis(100, 4000)).await;
                door.open();
                self.book.lock().unwrap().cuts[cut].until = Some(wall());
            }
        }
    }

    /// Notes that a host is cut off from now on; where that stands.
    fn begin_cut(&self, host: usize) -> usize {
        let host = &self.site.fleet.as_ref().unwrap().hosts()[host];
        let mut book = self.book.lock().unwrap();
        book.cuts.push(Cut {
            host: host.name().to_owned(),
            from: wall(),
            until: None,
        });
        book.cuts.len() - 1
    }

    /// Puts what is known into a folder that stays.
    pub(super) fn keep_evidence(&self, book: &Book) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rollout-soak-{}", wall()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("violations"), book.violations.join("\n")).unwrap();
        let faults = format!("{:#?}\n{:#?}", book.faults, book.cuts);
        fs::write(folder.join("faults"), faults).unwrap();
        fs::write(folder.join("rollouts"), book.ended.join("\n")).unwrap();
        for entry in fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
            }
        }
        for host in self.site.fleet.as_ref().unwrap().hosts() {
            let log = format!("{:#?}", host.log().unwrap());
            fs::write(folder.join(format!("host-{}", host.name())), log).unwrap();
        }
        folder
    }
}
