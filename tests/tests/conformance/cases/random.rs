//! Long sequences that nobody has thought out, the same in every run.

use crate::{
    network,
    packet::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG},
    script::{Case, Script, Service},
};

/// Numbers that follow from a seed (PCG's constants).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.throw(choices.len())]
    }
}

/// Segments of five known flows with any flags. Not SYN with RST: IPVS ends a closed flow then, but only at its next timer tick.
fn segments(s: &mut Script, seed: u64) {
    const FLAGS: [u8; 16] = [
        SYN,
        SYN,
        ACK,
        ACK,
        PSH | ACK,
        FIN | ACK,
        FIN | ACK,
        FIN,
        RST,
        RST | ACK,
        SYN | ACK,
        SYN | FIN,
        SYN | ECE | CWR,
        0,
        URG | PSH,
        FIN | RST,
    ];
    let mut dice = Dice(seed);
    s.tcp("rr", &[1, 1, 1, 1]);
    s.syns(1..=5);
    for _ in 0..95 {
        let client = dice.of(&[1, 2, 3, 4, 5]);
        s.send(&s.flow(client).tcp(dice.of(&FLAGS)));
    }
}

/// New flows while servers come and go and change their weights.
fn changes(s: &mut Script, scheduler: &'static str, seed: u64) {
    let mut dice = Dice(seed);
    let mut client = 0;
    let service = s.tcp(scheduler, &[1, 2, 3]);
    let mut servers = vec![1, 2, 3];
    for _ in 0..5 {
        let new_flows = 1 + dice.throw(6);
        s.syns((client + 1)..=(client + u8::try_from(new_flows).expect("few")));
        client += u8::try_from(new_flows).expect("few");
        change(s, service, &mut servers, &mut dice);
    }
    s.syns((client + 1)..=(client + 12));
}

fn change(s: &mut Script, service: Service, servers: &mut Vec<u8>, dice: &mut Dice) {
    let absent: Vec<u8> = (1..=6).filter(|server| !servers.contains(server)).collect();
    match dice.throw(3) {
        0 if !absent.is_empty() => {
            let server = dice.of(&absent);
            servers.push(server);
            s.add(service, network::server(server), dice.of(&[0, 1, 2, 4]));
        }
        1 if servers.len() > 1 => {
            let server = servers.remove(dice.throw(servers.len()));
            s.delete(service, server);
        }
        _ => s.weight(service, dice.of(servers), dice.of(&[0, 1, 2, 3, 5])),
    }
}

pub(crate) const CASES: &[Case] = &[
    ("any segments, 1", |s| segments(s, 1)),
    ("any segments, 2", |s| segments(s, 2)),
    ("any segments, 3", |s| segments(s, 3)),
    ("any segments, 4", |s| segments(s, 4)),
    ("rr, any changes, 1", |s| changes(s, "rr", 1)),
    ("rr, any changes, 2", |s| changes(s, "rr", 2)),
    ("wrr, any changes", |s| changes(s, "wrr", 3)),
];
