//! What is easily taken for something else: files to which no path leads.

use crate::open::{of_process, words};
use crate::rig::Rig;
use crate::watch::watched;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

crate::tests![files_to_which_no_path_leads_have_none_and_say_so];

fn files_to_which_no_path_leads_have_none_and_say_so(rig: &Rig) -> Result<()> {
    let folder = rig.path("placeless");
    std::fs::create_dir(&folder)?;
    let (act, stream) = watched(rig, &["--events", "open"], || rig.act_os(&[&"placeless", &folder]))?;
    let (pid, words) = words(&act, "open")?;
    let opens = of_process(&stream, "open", pid);
    ensure!(words.len() == 3, "{words:?}");
    for word in words {
        let mut same = opens.iter().filter(|event| {
            let open = &event.0["open"];
            ["requested", "dev", "ino", "fd"].iter().all(|&key| open[key] == word[key])
        });
        let event = same.next().with_context(|| format!("{word} is told"))?;
        ensure!(event.find("open.path").is_none(), "{word}: {}", event.0);
        let why = event.told("missing", "open.path").and_then(Value::as_str);
        ensure!(why == Some("unsupported"), "{word}: {}", event.0);
    }
    Ok(())
}
