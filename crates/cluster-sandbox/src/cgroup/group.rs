//! The instance's groups, and one container's.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::expedite::Expedited;
use super::layout::{Controller, Layout, Version};
use super::limits::{self, Setting};
use crate::spec::{ContainerId, InstanceId, Limits};

/// Where all groups of an instance are.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// The instance's directory in the v2 tree, with the controllers that its groups have.
    v2: Option<(PathBuf, Vec<Controller>)>,
    /// The instance's directories in v1 hierarchies, with their controllers.
    v1: Vec<(PathBuf, Vec<Controller>)>,
    /// Where processor time is counted, if not by v2.
    cpuacct: Option<PathBuf>,
}

/// One container's groups.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(super) v2: Option<PathBuf>,
    pub(super) v1: Vec<(PathBuf, Vec<Controller>)>,
    pub(super) v2_controllers: Vec<Controller>,
    pub(super) cpuacct: Option<PathBuf>,
}

/// The directory name of an instance, in every hierarchy.
pub(super) fn directory_of(instance: &InstanceId) -> String {
    format!("kwick-{instance}")
}

impl Root {
    /// Makes the instance's directories. Controllers that this machine does not offer are told in `notices`.
    pub(crate) fn create(layout: &Layout, instance: &InstanceId, notices: &mut Vec<String>) -> io::Result<Self> {
        let name = directory_of(instance);
        let mut root = Self { v2: None, v1: Vec::new(), cpuacct: None };
        let mut v2_controllers = Vec::new();
        for controller in Controller::ALL {
            match layout.find(controller.name()) {
                Some(Version::One(mount)) => root.add_v1(mount.join(&name), controller)?,
                Some(Version::Two(_)) => v2_controllers.push(controller),
                None => notices.push(format!(
                    "this machine has no cgroup controller \"{}\": limits on it are not in force",
                    controller.name()
                )),
            }
        }
        if let Some(unified) = &layout.v2 {
            let directory = unified.mount.join(&name);
            make_directory(&directory)?;
            for level in [&unified.mount, &directory] {
                v2_controllers.retain(|controller| is_enabled(level, *controller, notices));
            }
            root.v2 = Some((directory, v2_controllers));
        } else if let Some(Version::One(mount)) = layout.find("cpuacct") {
            let directory = mount.join(&name);
            make_directory(&directory)?;
            root.cpuacct = Some(directory);
        }
        Ok(root)
    }

    fn add_v1(&mut self, directory: PathBuf, controller: Controller) -> io::Result<()> {
        if let Some((_, controllers)) = self.v1.iter_mut().find(|(known, _)| *known == directory) {
            controllers.push(controller);
            return Ok(());
        }
        make_directory(&directory)?;
        self.v1.push((directory, vec![controller]));
        Ok(())
    }

    /// Makes a container's groups and sets its limits. On an error nothing is left.
    pub(crate) fn group(&self, container: &ContainerId, limits: &Limits) -> io::Result<Group> {
        let name = format!("c-{container}");
        let mut group = Group {
            v2: self.v2.as_ref().map(|(directory, _)| directory.join(&name)),
            v2_controllers: self.v2.as_ref().map(|(_, controllers)| controllers.clone()).unwrap_or_default(),
            v1: self.v1.iter().map(|(directory, controllers)| (directory.join(&name), controllers.clone())).collect(),
            cpuacct: self.cpuacct.as_ref().map(|directory| directory.join(&name)),
        };
        // Where cpu and cpuacct are one hierarchy there is one directory.
        group.cpuacct = group.cpuacct.filter(|directory| !group.v1.iter().any(|(known, _)| known == directory));
        let made = group.make(limits);
        if made.is_err() {
            let _ = group.remove();
        }
        made.map(|()| group)
    }
}

impl Group {
    fn make(&self, limits: &Limits) -> io::Result<()> {
        for directory in self.directories() {
            // A group of the same name would be the rest of a container that was not removed.
            fs::create_dir(directory)?;
        }
        if let Some(directory) = &self.v2 {
            set(directory, true, &self.v2_controllers, limits)?;
        }
        self.v1.iter().try_for_each(|(directory, controllers)| set(directory, false, controllers, limits))
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.v2.iter().chain(self.v1.iter().map(|(directory, _)| directory)).chain(&self.cpuacct)
    }

    /// The directory of a controller, and whether it is version 2.
    pub(super) fn directory_of(&self, controller: Controller) -> Option<(&Path, bool)> {
        let v1 = self.v1.iter().find(|(_, controllers)| controllers.contains(&controller));
        let v2 = self.v2.as_ref().filter(|_| self.v2_controllers.contains(&controller));
        v1.map(|(directory, _)| (directory.as_path(), false))
            .or_else(|| v2.map(|directory| (directory.as_path(), true)))
    }

    /// The v2 directory, for a process to be born in.
    pub(crate) fn birth_place(&self) -> io::Result<Option<OwnedFd>> {
        let Some(directory) = &self.v2 else { return Ok(None) };
        Ok(Some(rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Moves this process into the v1 groups. A process that was not born in the v2 one is moved there too.
    pub(crate) fn enter(&self, is_born_inside: bool) -> io::Result<()> {
        let v2 = self.v2.iter().filter(|_| !is_born_inside);
        let targets: Vec<_> = v2.chain(self.v1.iter().map(|(directory, _)| directory)).chain(&self.cpuacct).collect();
        if targets.is_empty() {
            return Ok(());
        }
        let _expedited = Expedited::begin();
        targets.into_iter().try_for_each(|directory| fs::write(directory.join("cgroup.procs"), "0"))
    }

    /// What to mount where below `/sys/fs/cgroup` inside the container: (name, directory). An empty name is the place itself.
    pub(crate) fn views(&self) -> Vec<(String, PathBuf)> {
        match &self.v2 {
            Some(directory) if self.v1.is_empty() => vec![(String::new(), directory.clone())],
            unified => {
                let unified = unified.iter().map(|directory| ("unified".to_owned(), directory.clone()));
                let name_of = |directory: &Path| {
                    let hierarchy = directory.ancestors().nth(2).and_then(Path::file_name);
                    hierarchy.unwrap_or_default().to_string_lossy().into_owned()
                };
                unified.chain(self.v1.iter().map(|(directory, _)| (name_of(directory), directory.clone()))).collect()
            }
        }
    }

    /// Kills every process of the container.
    pub(crate) fn kill(&self) {
        let is_told = self.v2.as_ref().is_some_and(|directory| fs::write(directory.join("cgroup.kill"), "1").is_ok());
        if !is_told {
            self.directories().for_each(|directory| super::leftovers::kill_members(directory));
        }
    }

    /// Removes the groups. Fails as busy while a process of the container still exists.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let mut outcome = Ok(());
        for directory in self.directories() {
            match fs::remove_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => outcome = Err(error),
                _ => {}
            }
        }
        outcome
    }
}

fn set(directory: &Path, is_v2: bool, controllers: &[Controller], limits: &Limits) -> io::Result<()> {
    let settings = controllers.iter().flat_map(|controller| limits::settings(*controller, is_v2, limits));
    for Setting { file, value, is_optional } in settings {
        match fs::write(directory.join(file), &value) {
            Err(error) if is_optional && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("setting {file} to {value}: {error}"))),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Makes the controller available to groups below `level`, unless it is.
fn is_enabled(level: &Path, controller: Controller, notices: &mut Vec<String>) -> bool {
    let file = level.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).unwrap_or_default();
    if enabled.split_whitespace().any(|name| name == controller.name()) {
        return true;
    }
    match fs::write(&file, format!("+{}", controller.name())) {
        Ok(()) => true,
        Err(error) => {
            notices.push(format!(
                "the cgroup controller \"{}\" cannot be used below {} ({error}): limits on it are not in force",
                controller.name(),
                level.display()
            ));
            false
        }
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests;
