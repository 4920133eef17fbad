//! The story of a failover, told by itself.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::setup::{Localnet, name};
use super::{Args, programs};

/// Runs the story; success means that every takeover was seen and nobody signed twice.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let mut localnet = Localnet::start(args).await?;
    let told = tell(&mut localnet).await;
    let judged = match &told {
        Ok(()) => judge(&localnet),
        Err(_) => Ok(false),
    };
    if matches!(judged, Ok(true)) {
        println!("the demo succeeded");
        return Ok(ExitCode::SUCCESS);
    }
    localnet.keep_data();
    drop(localnet);
    told?;
    judged?;
    println!("the demo FAILED");
    Ok(ExitCode::FAILURE)
}

async fn tell(localnet: &mut Localnet) -> Result<()> {
    say("the chain makes blocks; starting two kneards");
    localnet.start_kneard(0)?;
    localnet.wait_until_validating(0).await?;
    say("kneard0 validates: it is the primary");
    localnet.start_kneard(1)?;
    localnet.wait_until_standing_by(1).await?;
    say("kneard1 stands by");

    say("kill -9 kneard0");
    let started = Instant::now();
    localnet.signal(0, Signal::SIGKILL)?;
    localnet.wait_until_validating(1).await?;
    took_over(1, started.elapsed());
    localnet.wait_for_end(0).await?;

    say("starting kneard0 again");
    localnet.start_kneard(0)?;
    localnet.wait_until_standing_by(0).await?;
    say("kneard0 is back as standby, kneard1 still validates");
    localnet.wait_until_validating(1).await?;

    say("stopping kneard1 gracefully (SIGTERM)");
    let started = Instant::now();
    localnet.signal(1, Signal::SIGTERM)?;
    localnet.wait_until_validating(0).await?;
    took_over(0, started.elapsed());
    localnet.wait_for_end(1).await?;
    say("kneard1 has ended; kneard0 is stopped too");
    localnet.signal(0, Signal::SIGTERM)?;
    localnet.wait_for_end(0).await
}

fn judge(localnet: &Localnet) -> Result<bool> {
    if !localnet.uses_stand_in() {
        println!("verdict: none, a real neard keeps no signature log; every takeover was seen");
        return Ok(true);
    }
    let output = Command::new(programs::signature_check()?)
        .args((0..2).map(|number| localnet.home(number)))
        .output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.status.success())
}

fn took_over(number: usize, time: Duration) {
    say(&format!("{} validates, takeover took {:.2} s", name(number), time.as_secs_f64()));
}

fn say(text: &str) {
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    println!("{} {text}", &now[11..23]);
}
