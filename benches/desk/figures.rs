//! One function for each key of the table. Whatever is compared runs in turn, round by round, on
//! the same machine and where it can be on the same database.

use std::cell::Cell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mailward::app::ids::Ids;
use mailward::domain::email_address::EmailAddress;
use mailward::domain::ids::{AccountId, OrganizationId, UserId};
use mailward::mailserver::private;
use mailward::store;
use mailward::store::accounts::Handle;
use mailward::store::engine::{Db, Options, Tx};
use serde_json::{Value, json};

use crate::bare::{self, Commits, Counter};
use crate::by_hand::{self, Shared, Stored};
use crate::fill::{self, Filler, World};
use crate::ldap::{Directory, Filling};
use crate::load::{Call, Connection, Load, drive, median, paced, repeat, together};
use crate::postgres;
use crate::report::{Figure, Rounds, Target, over, rounded};
use crate::server::{self, Server, Setting};
use crate::settings::{Arguments, FEW_ACCOUNTS, MANY, MOST_ENTRIES, PAGE, RESETTERS};

/// Rows beyond the depth that a list is read at.
const BEYOND: i64 = 400;
/// Users beyond this number were made by the store alone, and no mail server was told of them.
pub const FIRST_UNTOLD: i64 = 8_000_000_000_000_000;
/// Connections that look at accounts while others reset passwords.
const LOOKERS: usize = 2;

pub struct Bench {
    pub arguments: Arguments,
    pub settings: Value,
    folder: PathBuf,
    few: World,
    pub many: World,
    /// Or why there is none.
    on_postgres: Result<(World, postgres::Server)>,
    /// Or why there is no OpenLDAP.
    directory: Result<Directory>,
    bare_file: PathBuf,
    /// The accounts that are switched off and on again.
    pairs: Arc<Counter>,
}

impl Bench {
    /// Fills the databases that the wanted figures need.
    ///
    /// # Errors
    /// Without an embedded database there is nothing to measure; what else is missing is told by its figure.
    pub async fn prepare(arguments: Arguments, folder: &Path) -> Result<Self> {
        let mut settings = arguments.told(folder);
        let wants = |keys: &[&str]| keys.iter().any(|key| arguments.wants(key));
        let entries = arguments.accounts().min(MOST_ENTRIES);
        let filling = match wants(&["switch_sqlite_32", "get"]) {
            true => Filling::begin(&folder.join("openldap"), entries),
            false => Err(anyhow!("not wanted")),
        };
        // The private mail servers' users have to reach the look-up files.
        let traversable = || Permissions::from_mode(if mail_servers() { 0o711 } else { 0o700 });
        std::fs::set_permissions(folder, traversable())?;
        let mut filling_sqlite = Vec::new();
        for (name, accounts) in [("few", FEW_ACCOUNTS), ("many", arguments.accounts() + BEYOND)] {
            let place = folder.join(name);
            std::fs::create_dir(&place)?;
            std::fs::set_permissions(&place, traversable())?;
            let file = place.join("mailward.sqlite").display().to_string();
            // Beside PostgreSQL, which works in processes of its own.
            filling_sqlite.push(tokio::task::spawn_blocking(move || fill_sqlite(&file, accounts)));
        }
        let on_postgres = match wants(&["switch_postgres_32", "list_depth", "console"]) {
            true => kept(fill_postgres(&arguments, &mut settings)).await,
            false => Err(anyhow!("not wanted")),
        };
        let bare_file = folder.join("bare.sqlite");
        bare::make_file(&bare_file, arguments.accounts())?;
        let mut filled = Vec::new();
        for filling in filling_sqlite {
            let (world, seconds) = filling.await??;
            settings["secondsToFillSqlite"] = rounded(seconds);
            filled.push(world);
        }
        let many = filled.pop().context("two were filled")?;
        let few = filled.pop().context("two were filled")?;
        let start = Instant::now();
        let directory = filling.and_then(Filling::finish);
        settings["secondsToWaitForOpenLdap"] = rounded(start.elapsed().as_secs_f64());
        Ok(Self {
            on_postgres,
            directory,
            settings,
            folder: folder.to_owned(),
            few,
            many,
            bare_file,
            pairs: Counter::from(1),
            arguments,
        })
    }

    pub fn postgres(&self) -> Result<&World> {
        match &self.on_postgres {
            Ok((world, _)) => Ok(world),
            Err(why) => Err(anyhow!("PostgreSQL: {why:#}")),
        }
    }

    pub async fn start(&self, world: &World, projection: bool) -> Result<Server> {
        let folder = match world.url.strip_prefix("sqlite:") {
            Some(file) => Path::new(file).parent().context("the file lies in a folder")?.to_owned(),
            None => self.folder.clone(),
        };
        let binary = self.arguments.server.clone();
        let database = world.url.clone();
        let groups = mail_servers();
        let server = server::mailward(&Setting { binary, folder, database, projection, groups }).await?;
        // The first change waits until the look-up files hold everything; a fresh start has to make them.
        self.settled(&server, world).await?;
        Ok(server)
    }

    /// A running OpenLDAP, or why there is none.
    async fn slapd(&self) -> Result<(&Directory, Server)> {
        let directory = self.directory.as_ref().map_err(|why| anyhow!("{why:#}"))?;
        Ok((directory, directory.start().await?))
    }

    async fn settled(&self, server: &Server, world: &World) -> Result<()> {
        let mut connection = Connection::open(server.address, &world.token).await?;
        let make = self.switches(world);
        for call in 0.. {
            let start = Instant::now();
            connection.call(make(0, call)).await?;
            if start.elapsed() < Duration::from_millis(500) && call % 2 == 1 {
                break;
            }
        }
        // What filling and starting wrote is not to be written out while something is measured.
        rustix::fs::sync();
        Ok(())
    }

    /// Disables an account's mail and enables it again: each call has a fresh value to store.
    fn switches(&self, world: &World) -> impl Fn(usize, u64) -> Call + Clone + 'static {
        let (world, pairs, current) = (world.clone(), Arc::clone(&self.pairs), Cell::new(0));
        move |_, call| {
            let mode = if call % 2 == 0 {
                current.set(pairs.next_scattered());
                "disableMailAccount"
            } else {
                "enableMailAccount"
            };
            let zuid = world.zuid(current.get());
            Call::put(world.path(current.get()), format!(r#"{{"mode":"{mode}","zuid":{zuid}}}"#))
        }
    }

    fn resets(&self, world: &World) -> impl Fn(usize, u64) -> Call + Clone + 'static {
        let (world, pairs) = (world.clone(), Arc::clone(&self.pairs));
        move |_, _| {
            let number = pairs.next_scattered();
            let zuid = world.zuid(number);
            let body = format!(r#"{{"mode":"resetPassword","password":"t*c9ma{number}","zuid":{zuid}}}"#);
            Call::put(world.path(number), body)
        }
    }

    fn bare_switches(&self) -> impl Fn(usize, u64) -> Call + Clone + 'static {
        let (rows, pairs) = (self.arguments.accounts(), Arc::clone(&self.pairs));
        move |_, _| {
            let row = 1 + pairs.next_scattered().rem_euclid(rows);
            Call::put(format!("/{row}"), r#"{"mode":"disableMailAccount","zuid":1000000000001}"#.to_owned())
        }
    }

    /// A load on a server for a turn, and the processor time that the server spent on it.
    async fn load(
        &self,
        server: &Server,
        world: &World,
        connections: usize,
        make: impl Fn(usize, u64) -> Call + Clone + 'static,
    ) -> Result<(Load, f64)> {
        self.load_for(self.arguments.turn(), server, world, connections, make).await
    }

    async fn load_for(
        &self,
        time: Duration,
        server: &Server,
        world: &World,
        connections: usize,
        make: impl Fn(usize, u64) -> Call + Clone + 'static,
    ) -> Result<(Load, f64)> {
        let before = server.cpu_seconds()?;
        let load = drive(server.address, &world.token, connections, time, make).await?;
        Ok((load, server.cpu_seconds()? - before))
    }

    // The keys ---------------------------------------------------------------------------------

    pub async fn reset(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("reset");
        let server = self.start(&self.many, true).await?;
        let (mut resets, mut others) = (Rounds::default(), Vec::new());
        let mut bare_rates = Vec::new();
        let mut rates = Vec::new();
        let (address, token, time) = (server.address, &self.many.token, self.arguments.round());
        for _ in 0..self.arguments.rounds() {
            bare_rates.push(bare::argon2id_rate(time)?);
            let before = server.cpu_seconds()?;
            let (load, looked) = tokio::try_join!(
                drive(address, token, RESETTERS, time, self.resets(&self.many)),
                paced(address, token, LOOKERS, time, Duration::from_millis(5), gets(&self.many)),
            )?;
            resets.take(&load, Some(server.cpu_seconds()? - before));
            rates.push(load.rate());
            others.push(looked);
        }
        let others = together(others);
        figure.tell("mailward", resets.json());
        figure.tell("bareArgon2idPerSecond", rounded(median(&bare_rates)));
        figure.tell("otherRequestsP50Milliseconds", rounded(others.p50()));
        figure.check("resets over bare Argon2id", over(&rates, &bare_rates), Target::AtLeast(0.90));
        figure.check("p99 of other requests meanwhile", others.p99(), Target::Within(20.0, "ms"));
        server.stop()?;
        Ok(figure)
    }

    pub async fn switch_sqlite_32(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("switch_sqlite_32");
        let server = self.start(&self.many, true).await?;
        let bare_server = server::bare(&["bare-switch", &self.bare_file.display().to_string()])?;
        let file = PathBuf::from(self.many.url.trim_start_matches("sqlite:"));
        let slapd = self.slapd().await;
        let (mut ours, mut theirs, mut openldap) = <(Rounds, Rounds, Rounds)>::default();
        let (mut together, mut bare_together) = (Vec::new(), Vec::new());
        for _ in 0..self.arguments.turns() {
            let before = bare::commits_so_far(&file)?;
            let (load, cpu) = self.load(&server, &self.many, MANY, self.switches(&self.many)).await?;
            together.push(per_commit(&load, before, &file, MANY)?);
            ours.take(&load, Some(cpu));
            let before = bare::commits_so_far(&self.bare_file)?;
            let (load, cpu) = self.load(&bare_server, &self.many, MANY, self.bare_switches()).await?;
            bare_together.push(per_commit(&load, before, &self.bare_file, MANY)?);
            theirs.take(&load, Some(cpu));
            if let Ok((directory, slapd)) = &slapd {
                let before = slapd.cpu_seconds()?;
                let load = directory.modify(slapd, MANY, self.arguments.turn(), &self.pairs).await?;
                openldap.take(&load, Some(slapd.cpu_seconds()? - before));
            }
        }
        if let Some(ratio) = told_of_openldap(&mut figure, &slapd, &ours, &openldap) {
            figure.check("rate over OpenLDAP's modify", ratio, Target::AtLeast(2.0));
        }
        figure.tell("mailward", ours.json());
        figure.tell("bareHandler", theirs.json());
        figure.tell("callsPerSyncedCommit", rounded(median(&together)));
        figure.tell("bareCallsPerSyncedCommit", rounded(median(&bare_together)));
        figure.check("rate over the bare handler's", ours.over(&theirs), Target::AtLeast(0.5));
        bare_server.stop()?;
        server.stop()?;
        Ok(figure)
    }

    pub async fn switch_sqlite_1(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("switch_sqlite_1");
        let server = self.start(&self.many, true).await?;
        let file = PathBuf::from(self.many.url.trim_start_matches("sqlite:"));
        let mut commits = Commits::open(&self.bare_file)?;
        let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
        for _ in 0..self.arguments.turns() {
            let before = bare::commits_so_far(&file)?;
            let (load, cpu) = self.load(&server, &self.many, 1, self.switches(&self.many)).await?;
            per_commit(&load, before, &file, 1)?;
            ours.take(&load, Some(cpu));
            let before = bare::commits_so_far(&self.bare_file)?;
            let rows = self.arguments.accounts();
            let load = repeat(self.arguments.turn(), async || commits.commit(rows)).await?;
            per_commit(&load, before, &self.bare_file, 1)?;
            theirs.take(&load, None);
        }
        figure.tell("mailward", ours.json());
        figure.tell("bareSyncedCommit", theirs.json());
        figure.check("rate over bare synced commits", ours.over(&theirs), Target::AtLeast(0.6));
        server.stop()?;
        Ok(figure)
    }

    pub async fn switch_postgres_32(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("switch_postgres_32");
        let world = self.postgres()?;
        let server = self.start(world, true).await?;
        let (mut ours, mut hand, mut single, mut one) =
            (Rounds::default(), Rounds::default(), Rounds::default(), Rounds::default());
        let (mut per_flush, mut runs) = (Vec::new(), Vec::new());
        let time = self.arguments.turn();
        for _ in 0..self.arguments.turns() {
            let before = Stored::read(&world.url).await?;
            let (load, cpu) = self.load(&server, world, MANY, self.switches(world)).await?;
            let calls = i64::try_from(load.calls())?;
            // No more calls than connections can share one flush.
            let after = before.until_flushed(&world.url, calls / i64::try_from(MANY)?).await?;
            let stored = after.changes - before.changes;
            ensure!(stored == calls, "{calls} calls, but {stored} changes were stored");
            per_flush.push(calls as f64 / (after.flushes - before.flushes) as f64);
            runs.push((after.transactions - before.transactions) as f64 / calls as f64);
            ours.take(&load, Some(cpu));
            let shared = Shared::read(world, &self.pairs).await?;
            hand.take(&by_hand::switch(shared, MANY, time).await?, None);
            let rows = self.arguments.accounts();
            single.take(&by_hand::commits(&world.url, MANY, rows, time).await?, None);
            let (load, cpu) = self.load(&server, world, 1, self.switches(world)).await?;
            one.take(&load, Some(cpu));
        }
        figure.tell("mailward", ours.json());
        figure.tell("mailwardOneConnection", one.json());
        figure.tell("byHand", hand.json());
        figure.tell("bareCommits", single.json());
        figure.tell("callsPerFlush", rounded(median(&per_flush)));
        figure.tell("runsPerCall", rounded(median(&runs)));
        figure.check("rate over the statements by hand", ours.over(&hand), Target::AtLeast(0.85));
        figure.check("rate over bare commits of one row", ours.over(&single), Target::AtLeast(0.3));
        server.stop()?;
        Ok(figure)
    }

    pub async fn get(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("get");
        let server = self.start(&self.many, true).await?;
        let mut connection = Connection::open(server.address, &self.many.token).await?;
        let bytes = connection.call(Call::get(self.many.path(4711))).await?.len();
        let file = self.many.url.trim_start_matches("sqlite:");
        let bare_server = server::bare(&["bare-get", file, &bytes.to_string()])?;
        let slapd = self.slapd().await;
        let (mut ours, mut theirs, mut openldap) = <(Rounds, Rounds, Rounds)>::default();
        for _ in 0..self.arguments.turns() {
            let (load, cpu) = self.load(&server, &self.many, MANY, gets(&self.many)).await?;
            ours.take(&load, Some(cpu));
            let (load, cpu) = self.load(&bare_server, &self.many, MANY, gets(&self.many)).await?;
            theirs.take(&load, Some(cpu));
            if let Ok((directory, slapd)) = &slapd {
                let before = slapd.cpu_seconds()?;
                let load = directory.search(slapd, MANY, self.arguments.turn(), &self.pairs).await?;
                openldap.take(&load, Some(slapd.cpu_seconds()? - before));
            }
        }
        if let Some(ratio) = told_of_openldap(&mut figure, &slapd, &ours, &openldap) {
            figure.check("rate over OpenLDAP's indexed search", ratio, Target::AtLeast(1.0));
        }
        figure.tell("mailward", ours.json());
        figure.tell("bareHandler", theirs.json());
        figure.tell("bodyBytes", bytes);
        figure.check("rate over the bare handler's", ours.over(&theirs), Target::AtLeast(0.8));
        bare_server.stop()?;
        server.stop()?;
        Ok(figure)
    }

    pub async fn list_depth(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("list_depth");
        let postgres = self.postgres()?;
        for (name, world) in [("sqlite", &self.many), ("postgres", postgres)] {
            let server = self.start(world, true).await?;
            let (mut start, mut deep) = (Rounds::default(), Rounds::default());
            for _ in 0..self.arguments.turns() {
                for (rounds, from) in [(&mut start, 0), (&mut deep, self.arguments.accounts())] {
                    let page = world.list(from, PAGE);
                    let make = move |_, _| Call::get(page.clone());
                    let (load, cpu) = self.load(&server, world, 1, make).await?;
                    rounds.take(&load, Some(cpu));
                }
            }
            figure.tell(&format!("{name}AtStart"), start.json());
            figure.tell(&format!("{name}Deep"), deep.json());
            let name = format!("cost at depth {} over cost at 0, {name}", self.arguments.accounts());
            figure.check(name, deep.p50_over(&start), Target::AtMost(1.5));
            server.stop()?;
        }
        for (name, world) in [("sqlite", &self.many), ("postgres", postgres)] {
            let (counted, uncounted) = self.creates(world).await?;
            figure.tell(&format!("{name}Creates"), counted.json());
            figure.tell(&format!("{name}CreatesWithoutCounters"), uncounted.json());
            let name = format!("rate of creates over creates without counters, {name}");
            figure.check(name, counted.over(&uncounted), Target::AtLeast(0.9));
        }
        Ok(figure)
    }

    /// Durable creates in the store, 32 at a time and without a password to hash: with the counters of
    /// the list, and without them.
    async fn creates(&self, world: &World) -> Result<(Rounds, Rounds)> {
        let db = Db::open(&world.url, &Options::default())?;
        let zoid = OrganizationId::new(world.zoid).context("a zoid")?;
        let template = UserId::new(world.zuid(1)).context("a zuid")?;
        let template = {
            let mut tx = db.read().await?;
            store::accounts::load(&mut tx, zoid, Handle::User(template)).await?.context("the account")?
        };
        let (numbers, ids) = (Counter::from(1), Arc::new(Ids::new(db.clone())));
        let (mut counted, mut uncounted) = <(Rounds, Rounds)>::default();
        for _ in 0..self.arguments.turns() {
            for (is_counted, rounds) in [(true, &mut counted), (false, &mut uncounted)] {
                let tasks: Vec<_> = (0..MANY)
                    .map(|_| {
                        let (db, template, numbers) = (db.clone(), template.clone(), Arc::clone(&numbers));
                        let ids = Arc::clone(&ids);
                        let time = self.arguments.turn();
                        tokio::task::spawn_local(repeat(time, async move || {
                            let number = numbers.next();
                            let mut account = template.clone();
                            account.user = UserId::new(FIRST_UNTOLD + number).context("a zuid")?;
                            account.id =
                                AccountId::new(8_000_000_000_000_000_000 + number).context("an accountId")?;
                            account.mailbox = format!("m{}", account.id);
                            account.primary = EmailAddress::parse(&format!("new{number}@zylker.example"))?;
                            account.aliases.clear();
                            // Without counters they are far from the ordinals that are counted.
                            let ordinal =
                                if is_counted { ids.ordinal(zoid).await? } else { (1 << 40) + number };
                            let change = async move |tx: &mut Tx| match is_counted {
                                true => store::accounts::insert(tx, &account, ordinal).await,
                                false => store::accounts::insert_uncounted(tx, &account, ordinal).await,
                            };
                            Ok(db.write(change).await?)
                        }))
                    })
                    .collect();
                let mut loads = Vec::new();
                for task in tasks {
                    loads.push(task.await??);
                }
                rounds.take(&together(loads), None);
            }
        }
        db.close().await;
        Ok((counted, uncounted))
    }

    pub async fn size(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("size");
        let few = self.start(&self.few, true).await?;
        let many = self.start(&self.many, true).await?;
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for operation in ["get", "list", "switch", "reset"] {
            let (mut small, mut large) = (Vec::new(), Vec::new());
            for _ in 0..self.arguments.turns() {
                for (loads, server, world) in [(&mut small, &few, &self.few), (&mut large, &many, &self.many)]
                {
                    loads.push(match operation {
                        "get" => self.load(server, world, 1, gets(world)).await?.0,
                        "list" => self.load(server, world, 1, lists(world)).await?.0,
                        "switch" => self.load(server, world, 1, self.switches(world)).await?.0,
                        _ => self.load(server, world, 1, self.resets(world)).await?.0,
                    });
                }
            }
            let (small, large) = (together(small), together(large));
            let told = |load: &Load| json!({"p50Milliseconds": rounded(load.p50()), "p99Milliseconds": rounded(load.p99())});
            figure.tell(operation, json!({"thousand": told(&small), "million": told(&large)}));
            p50.push((operation, large.p50() / small.p50()));
            p99.push((operation, large.p99() / small.p99()));
        }
        for (name, ratios) in [("p50", p50), ("p99", p99)] {
            let worst = ratios.into_iter().max_by(|one, other| one.1.total_cmp(&other.1));
            let (operation, ratio) = worst.context("there are operations")?;
            figure.check(
                format!("worst {name} over that of a thousand ({operation})"),
                ratio,
                Target::AtMost(1.5),
            );
        }
        few.stop()?;
        many.stop()?;
        Ok(figure)
    }

    pub async fn memory_start(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("memory_start");
        let many = match self.arguments.accounts() {
            1_000_000 => "million".to_owned(),
            accounts => format!("{accounts} accounts"),
        };
        for (name, world) in [("thousand", &self.few), (many.as_str(), &self.many)] {
            // So that the look-up files hold everything, as after an ordinary stop.
            self.start(world, true).await?.stop()?;
            let mut ready = Vec::new();
            let mut idle = Vec::new();
            for round in 0..self.arguments.rounds().max(3) {
                let server = self.start(world, true).await?;
                ready.push(server.ready_after.as_secs_f64());
                tokio::time::sleep(Duration::from_secs(1)).await;
                idle.push(server.resident_mib("VmRSS")?);
                if round == 0 {
                    let (address, token, time) = (server.address, &world.token, self.arguments.round());
                    tokio::try_join!(
                        drive(address, token, MANY / 2, time, self.switches(world)),
                        drive(address, token, MANY / 2, time, gets(world)),
                        drive(address, token, 4, time, lists(world)),
                        drive(address, token, RESETTERS, time, self.resets(world)),
                    )?;
                    let most = server.resident_mib("VmHWM")?;
                    figure.check(format!("resident under load, {name}"), most, Target::Within(150.0, "MiB"));
                }
                server.stop()?;
            }
            figure.check(format!("resident idle, {name}"), median(&idle), Target::Within(64.0, "MiB"));
            figure.check(format!("ready, {name}"), median(&ready), Target::Within(0.3, "s"));
            figure
                .tell(&format!("readySeconds_{name}"), ready.iter().map(|s| rounded(*s)).collect::<Vec<_>>());
        }
        let bytes = std::fs::metadata(&self.arguments.server)?.len();
        figure.check("size of the binary", bytes as f64 / 1048576.0, Target::Within(40.0, "MiB"));
        Ok(figure)
    }

    pub async fn projection(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("projection");
        let time = self.arguments.round();
        let mut with = (Rounds::default(), Rounds::default());
        let mut without = (Rounds::default(), Rounds::default());
        // Each turn starts a server anew.
        for _ in 0..self.arguments.rounds().max(5) {
            for (projection, (many, one)) in [(true, &mut with), (false, &mut without)] {
                let server = self.start(&self.many, projection).await?;
                let (load, cpu) =
                    self.load_for(time, &server, &self.many, MANY, self.switches(&self.many)).await?;
                many.take(&load, Some(cpu));
                let (load, cpu) =
                    self.load_for(time, &server, &self.many, 1, self.switches(&self.many)).await?;
                one.take(&load, Some(cpu));
                server.stop()?;
            }
        }
        figure.tell("with", json!({"connections32": with.0.json(), "connections1": with.1.json()}));
        figure.tell("without", json!({"connections32": without.0.json(), "connections1": without.1.json()}));
        figure.check(
            "rate with look-up files over rate without",
            with.0.over(&without.0),
            Target::AtLeast(0.8),
        );
        let more = with.1.p50() - without.1.p50();
        figure.check("p50 at one connection, more than without", more, Target::Within(1.0, "ms"));
        Ok(figure)
    }
}

/// Tells what OpenLDAP did, or why it did not; answers our rate over its rate.
fn told_of_openldap(
    figure: &mut Figure,
    slapd: &Result<(&Directory, Server)>,
    ours: &Rounds,
    openldap: &Rounds,
) -> Option<f64> {
    match slapd {
        Ok((directory, _)) => {
            figure.tell("openLdap", openldap.json());
            figure.tell("openLdapEntries", directory.entries);
            Some(ours.over(openldap))
        }
        Err(why) => {
            figure.tell("openLdap", format!("skipped: {why:#}"));
            None
        }
    }
}

/// Whether this machine can run private mail servers on the look-up files.
fn mail_servers() -> bool {
    private::obstacle().is_none()
}

fn fill_sqlite(file: &str, accounts: i64) -> Result<(World, f64)> {
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let world = runtime.block_on(fill::make(&format!("sqlite:{file}"), accounts, Filler::Sqlite(file)))?;
    Ok((world, start.elapsed().as_secs_f64()))
}

async fn fill_postgres(arguments: &Arguments, settings: &mut Value) -> Result<(World, postgres::Server)> {
    let server = postgres::Server::start(5432, |_| Vec::new());
    let start = Instant::now();
    let url = server.url.clone();
    let client = by_hand::connect(&url).await?;
    let version = client.query_one("SHOW server_version", &[]).await?.get::<_, String>(0);
    let told = client
        .query(
            "SELECT name || ' = ' || setting FROM pg_settings
             WHERE name IN ('fsync', 'synchronous_commit', 'wal_sync_method', 'shared_buffers') ORDER BY name",
            &[],
        )
        .await?;
    let world = fill::make(&url, arguments.accounts() + BEYOND, Filler::Postgres(&client)).await?;
    by_hand::make_table(&url, arguments.accounts()).await?;
    settings["postgres"] = json!(version);
    let told: Vec<String> = told.iter().map(|row| row.get(0)).collect();
    settings["postgresSettings"] = json!(told.join(", "));
    settings["postgresPool"] = json!(Options::default().pool_size);
    settings["secondsToFillPostgres"] = rounded(start.elapsed().as_secs_f64());
    Ok((world, server))
}

/// A panic (the tests' PostgreSQL ends in one where it cannot start) as an error like others.
pub async fn kept<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            std::task::Poll::Ready(Err(anyhow!("{}", said.unwrap_or("a panic"))))
        })
    })
    .await
}

fn gets(world: &World) -> impl Fn(usize, u64) -> Call + Clone + 'static {
    let world = world.clone();
    move |connection, call| {
        let number = (call as i64).wrapping_mul(7919).wrapping_add(connection as i64 * 104_729);
        Call::get(world.path(number))
    }
}

fn lists(world: &World) -> impl Fn(usize, u64) -> Call + Clone + 'static {
    let page = world.list(0, PAGE);
    move |_, _| Call::get(page.clone())
}

/// Calls for each commit that wrote pages; more than can wait at once were not all synced.
fn per_commit(load: &Load, before: u32, file: &Path, connections: usize) -> Result<f64> {
    let commits = bare::commits_so_far(file)?.wrapping_sub(before);
    let (calls, commits) = (load.calls(), usize::try_from(commits)?);
    ensure!(
        commits > 0 && calls <= commits * connections,
        "{calls} calls, but only {commits} synced commits"
    );
    Ok(calls as f64 / commits as f64)
}
