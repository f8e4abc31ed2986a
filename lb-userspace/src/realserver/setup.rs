//! Carries out a plan so that it is done whole or not at all, and undoes it.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{
    Mode, RealServerError,
    action::{Action, Change},
    host::{Host, gone},
    plan::{Desired, plan},
    state::{State, Store},
};

/// What is asked of `up`.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) interface: String,
    pub(super) vips: BTreeSet<Ipv4Addr>,
    pub(super) xdp: bool,
    pub(super) generic: bool,
}

/// What `up` did.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) mode: Mode,
    /// Whether the mode was chosen because this kernel has no ipip.
    pub(super) fell_back: bool,
    pub(super) vips: BTreeSet<Ipv4Addr>,
    pub(super) changes: Vec<Change>,
}

/// Sets the host up, or extends the set-up in force by more VIPs.
pub(super) async fn set_up<H: Host>(
    host: &H,
    store: &Store,
    wanted: &Wanted,
) -> Result<Done, RealServerError> {
    let before = store.load()?;
    let desired = desired(wanted, before.as_ref())?;
    let vips = desired.vips.clone();
    match attempt(host, store, &wanted.interface, before.as_ref(), &desired).await {
        Ok(changes) => Ok(Done { mode: desired.mode, fell_back: false, vips, changes }),
        Err(error) if before.is_none() && !wanted.xdp && no_ipip(&error) => {
            let desired = Desired { mode: Mode::Xdp, ..desired };
            let changes = attempt(host, store, &wanted.interface, None, &desired).await?;
            Ok(Done { mode: Mode::Xdp, fell_back: true, vips, changes })
        }
        Err(error) => Err(error),
    }
}

/// What is to be, given what is asked for and what is set up: more VIPs may come, all else must agree.
pub(super) fn desired(wanted: &Wanted, before: Option<&State>) -> Result<Desired, RealServerError> {
    let mode = if wanted.xdp { Mode::Xdp } else { Mode::Kernel };
    let Some(before) = before else {
        return Ok(Desired { mode, generic: wanted.generic, vips: wanted.vips.clone() });
    };
    if before.interface != wanted.interface {
        return Err(RealServerError::Differs {
            was: format!("interface {}", before.interface),
            wanted: format!("interface {}", wanted.interface),
        });
    }
    if wanted.xdp && before.mode == Mode::Kernel {
        return Err(RealServerError::Differs {
            was: "the kernel's tunl0".to_owned(),
            wanted: "an XDP program".to_owned(),
        });
    }
    Ok(Desired {
        mode: before.mode,
        generic: before.generic || wanted.generic,
        vips: before.vips.union(&wanted.vips).copied().collect(),
    })
}

fn no_ipip(error: &RealServerError) -> bool {
    match error {
        RealServerError::Failed { source, .. } => no_ipip(source),
        RealServerError::NoTunnelHere => true,
        RealServerError::Netlink(error) => error.unsupported(),
        _ => false,
    }
}

async fn attempt<H: Host>(
    host: &H,
    store: &Store,
    interface: &str,
    before: Option<&State>,
    desired: &Desired,
) -> Result<Vec<Change>, RealServerError> {
    let observed = host.observe(interface, &desired.vips).await?;
    let changes = plan(desired, &observed)?;
    let mut after = match before {
        Some(before) => before.clone(),
        None => store.fresh(interface, desired),
    };
    after.generic = desired.generic;
    after.vips.clone_from(&desired.vips);
    remember(&mut after.undo, &changes);
    if before == Some(&after) && changes.is_empty() {
        return Ok(changes);
    }
    store.save(&after)?;
    if let Err((error, left)) = apply(host, &changes).await {
        settle_failure(store, before, after, &left)?;
        return Err(error);
    }
    Ok(changes)
}

/// Adds what undoes these changes. A thing that an earlier `up` changed keeps the undoing that it has: that one restores what
/// was there before all.
fn remember(undo: &mut Vec<Action>, changes: &[Change]) {
    for change in changes {
        let subject = change.undo.subject();
        if undo.iter().all(|known| known.subject() != subject) {
            undo.push(change.undo.clone());
        }
    }
}

/// Puts the state back to what is true after a failure.
fn settle_failure(
    store: &Store,
    before: Option<&State>,
    after: State,
    left: &[Action],
) -> Result<(), RealServerError> {
    if left.is_empty() {
        return match before {
            Some(before) => store.save(before),
            None => store.forget(),
        };
    }
    // Something is still changed, so `down` must still know of it.
    let keep: BTreeSet<String> = left.iter().map(Action::subject).collect();
    let earlier: BTreeSet<String> =
        before.map(|state| state.undo.iter().map(Action::subject).collect()).unwrap_or_default();
    let mut state = after;
    state.undo.retain(|action| {
        let subject = action.subject();
        keep.contains(&subject) || earlier.contains(&subject)
    });
    if let Some(before) = before {
        state.vips.clone_from(&before.vips);
        state.generic = before.generic;
    }
    store.save(&state)
}

/// Makes the changes in order; after a failure undoes those made, and tells which undoings failed.
async fn apply<H: Host>(
    host: &H,
    changes: &[Change],
) -> Result<(), (RealServerError, Vec<Action>)> {
    for (index, change) in changes.iter().enumerate() {
        if let Err(source) = host.perform(&change.action).await {
            let made: Vec<Action> =
                changes.iter().take(index).map(|change| change.undo.clone()).collect();
            let (left, not_undone) = undo(host, &made).await;
            let error = RealServerError::Failed {
                change: change.action.to_string(),
                source: Box::new(source),
                not_undone,
            };
            return Err((error, left));
        }
    }
    Ok(())
}

/// Does all of these from the last to the first; gives those that failed, in their order, and what to say about them.
async fn undo<H: Host>(host: &H, actions: &[Action]) -> (Vec<Action>, Vec<String>) {
    let mut left = Vec::new();
    let mut messages = Vec::new();
    for action in actions.iter().rev() {
        match host.perform(action).await {
            Ok(()) => {}
            Err(error) if gone(&error) => {}
            Err(error) => {
                messages.push(format!("{action}: {error}"));
                left.push(action.clone());
            }
        }
    }
    left.reverse();
    (left, messages)
}

/// Undoes all that `up` did; what cannot be undone stays in the state.
pub(super) async fn take_down<H: Host>(host: &H, store: Store) -> Result<State, RealServerError> {
    let Some(mut state) = store.load()? else {
        // What a state of an earlier boot describes went with that boot.
        let path = store.path();
        store.clear()?;
        return Err(RealServerError::NotSetUp(path));
    };
    let (left, messages) = undo(host, &state.undo).await;
    if !left.is_empty() {
        state.undo = left;
        store.save(&state)?;
        return Err(RealServerError::NotUndone(messages));
    }
    store.clear()?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::{
        super::{
            check::{Verdict, check},
            fake::{FakeHost, VIP, VIP2, rs1, without_tunnel},
        },
        *,
    };

    fn wanted(vips: &[Ipv4Addr]) -> Wanted {
        Wanted {
            interface: "eth0".to_owned(),
            vips: vips.iter().copied().collect(),
            xdp: false,
            generic: false,
        }
    }

    fn folder() -> TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn open(folder: &TempDir) -> Store {
        Store::open(&folder.path().join("state")).expect("the store")
    }

    async fn assert_right(host: &FakeHost, mode: Mode, vips: &[Ipv4Addr]) {
        let vips = vips.iter().copied().collect();
        let observed = host.observe("eth0", &vips).await.expect("observe");
        let findings = check(&Desired { mode, generic: false, vips }, &observed);
        let wrong: Vec<_> =
            findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[tokio::test]
    async fn what_up_sets_up_check_finds_right_and_down_undoes() {
        for before in [rs1(), without_tunnel()] {
            let host = FakeHost::new(before.clone());
            let folder = folder();
            let done = set_up(&host, &open(&folder), &wanted(&[VIP])).await.expect("up");
            assert_eq!((done.mode, done.fell_back), (Mode::Kernel, false));
            assert_right(&host, Mode::Kernel, &[VIP]).await;
            take_down(&host, open(&folder)).await.expect("down");
            assert_eq!(host.snapshot(), before);
            assert!(!folder.path().join("state").exists());
        }
    }

    #[tokio::test]
    async fn up_twice_changes_nothing_and_down_still_restores_the_first_state() {
        let mut before = rs1();
        before.sysctls.insert("net/ipv4/conf/all/rp_filter".to_owned(), "1".to_owned());
        before.routes[0].advmss = Some(1460);
        let host = FakeHost::new(before.clone());
        let folder = folder();
        set_up(&host, &open(&folder), &wanted(&[VIP])).await.expect("up");
        let after = host.snapshot();
        let again = set_up(&host, &open(&folder), &wanted(&[VIP])).await.expect("up again");
        assert!(again.changes.is_empty(), "{:?}", again.changes);
        assert_eq!(host.snapshot(), after);
        take_down(&host, open(&folder)).await.expect("down");
        assert_eq!(host.snapshot(), before);
    }

    #[tokio::test]
    async fn more_vips_extend_the_set_up_and_keep_the_first_values() {
        for host in [FakeHost::new(rs1()), FakeHost::without_ipip()] {
            let before = host.snapshot();
            let folder = folder();
            let mode = set_up(&host, &open(&folder), &wanted(&[VIP])).await.expect("up").mode;
            // Somebody undoes one of the settings; the next `up` sets it again.
            host.change(|observed| {
                observed
                    .sysctls
                    .insert("net/ipv4/conf/eth0/arp_announce".to_owned(), "1".to_owned());
            });
            let done = set_up(&host, &open(&folder), &wanted(&[VIP2])).await.expect("up");
            assert_eq!(done.vips, BTreeSet::from([VIP, VIP2]));
            assert_right(&host, mode, &[VIP, VIP2]).await;
            take_down(&host, open(&folder)).await.expect("down");
            assert_eq!(host.snapshot(), before);
        }
    }

    #[tokio::test]
    async fn without_ipip_an_xdp_program_unwraps() {
        let host = FakeHost::without_ipip();
        let before = host.snapshot();
        let folder = folder();
        let done = set_up(&host, &open(&folder), &wanted(&[VIP])).await.expect("up");
        assert_eq!((done.mode, done.fell_back), (Mode::Xdp, true));
        assert_right(&host, Mode::Xdp, &[VIP]).await;
        take_down(&host, open(&folder)).await.expect("down");
        assert_eq!(host.snapshot(), before);
    }

    #[tokio::test]
    async fn a_failure_at_any_step_leaves_everything_as_it_was() {
        for xdp in [false, true] {
            let mut steps = 0;
            loop {
                let host = FakeHost::new(without_tunnel()).failing_at(steps);
                let folder = folder();
                let wanted = Wanted { xdp, ..wanted(&[VIP]) };
                let store = open(&folder);
                let outcome = set_up(&host, &store, &wanted).await;
                if !host.failed() {
                    outcome.expect("up");
                    break;
                }
                let error = outcome.expect_err("a failure");
                assert!(error.to_string().ends_with("everything before it was undone"), "{error}");
                assert_eq!(host.snapshot(), without_tunnel(), "after {steps} steps");
                assert_eq!(store.load().expect("load"), None);
                steps += 1;
            }
            assert!(steps >= 6, "{steps}");
        }
    }

    #[tokio::test]
    async fn a_failed_extension_leaves_the_first_set_up() {
        let host = FakeHost::new(rs1());
        let folder = folder();
        set_up(&host, &open(&folder), &wanted(&[VIP])).await.expect("up");
        let after = host.snapshot();
        let host = FakeHost::new(after.clone()).failing_at(0);
        set_up(&host, &open(&folder), &wanted(&[VIP2])).await.expect_err("a failure");
        assert_eq!(host.snapshot(), after);
        take_down(&host, open(&folder)).await.expect("down");
        assert_eq!(host.snapshot(), rs1());
    }

    #[tokio::test]
    async fn what_cannot_be_undone_is_kept_for_another_down() {
        let host = FakeHost::new(rs1());
        let folder = folder();
        set_up(&host, &open(&folder), &wanted(&[VIP])).await.expect("up");
        let host = FakeHost::new(host.snapshot()).failing_at(1);
        let error = take_down(&host, open(&folder)).await.expect_err("a failure");
        assert!(matches!(error, RealServerError::NotUndone(_)), "{error}");
        take_down(&host, open(&folder)).await.expect("down");
        assert_eq!(host.snapshot(), rs1());
    }

    #[tokio::test]
    async fn a_route_that_went_meanwhile_does_not_hinder_down() {
        let host = FakeHost::new(rs1());
        let folder = folder();
        set_up(&host, &open(&folder), &wanted(&[VIP])).await.expect("up");
        host.change(|observed| observed.routes.truncate(1));
        take_down(&host, open(&folder)).await.expect("down");
        let mut expected = rs1();
        expected.routes.truncate(1);
        assert_eq!(host.snapshot(), expected);
    }

    #[tokio::test]
    async fn down_without_up_says_so() {
        let host = FakeHost::new(rs1());
        let error = take_down(&host, open(&folder())).await.expect_err("nothing");
        assert!(matches!(error, RealServerError::NotSetUp(_)), "{error}");
    }

    #[tokio::test]
    async fn another_interface_or_mode_is_refused() {
        let host = FakeHost::new(rs1());
        let folder = folder();
        set_up(&host, &open(&folder), &wanted(&[VIP])).await.expect("up");
        for other in [
            Wanted { interface: "eth1".to_owned(), ..wanted(&[VIP]) },
            Wanted { xdp: true, ..wanted(&[VIP]) },
        ] {
            let error = set_up(&host, &open(&folder), &other).await.expect_err("refused");
            assert!(matches!(error, RealServerError::Differs { .. }), "{error}");
        }
    }

    #[test]
    fn only_one_process_works_on_a_folder() {
        let folder = folder();
        let _first = open(&folder);
        let second = Store::open(&folder.path().join("state")).expect_err("busy");
        assert!(matches!(second, RealServerError::Busy(_)), "{second}");
    }
}
