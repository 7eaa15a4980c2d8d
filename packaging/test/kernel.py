#!/usr/bin/env python3
"""Tests of what another kernel does, under that kernel: packaging/test/kernel.py [LINUX_IMAGE_DEB] [TEST]

Boots a Debian kernel (by default the distribution's own cloud kernel, which apt-get downloads and nobody installs) in a
virtual machine without a disk, by software emulation, with tests and programs as built from this tree and what they link:
units of the library, and the real service with OpenSSL as a peer. TEST is a filter of units, as `cargo test` has it.

What must hold: where the kernel has the module `tls`, connections in TLS 1.2 are given to it, and from Linux 6.14 on those
in TLS 1.3 too; a test that finds otherwise fails there, though it passes on a kernel that has nothing to give.

Needs root or nothing in particular; apt-get, dpkg, qemu-system-x86, busybox-static, kmod, xz-utils. About a minute.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

os.environ["PATH"] += ":/usr/sbin:/sbin"
ROOT = pathlib.Path(__file__).resolve().parents[2]
# By binary: units of the library, and the real service with real peers, in its sandbox.
TESTS = {
    "pinfold": ["kernel_tls", "tls::kernel", "secured"],
    "it": ["bulk_is_gone_on_with_by_the_kernel", "nothing_is_given_to_the_kernel", "every_byte_arrives_both_ways_through_tls"],
}
# What a connection may need; `modprobe` brings what these need in turn.
MODULES = ["tls", "gcm", "ccm", "ghash-clmulni-intel", "aesni-intel", "chacha20poly1305", "chacha", "chacha_generic", "chacha-x86_64",
           "poly1305_generic", "poly1305-x86_64"]
# A machine that is emulated takes its time, and one that hangs must end.
PATIENCE = 900

INIT = """#!/bin/sh
export PATH=/bin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ip link set lo up
for module in {modules}; do modprobe $module 2>/dev/null; done
uname -r
cd /tmp
export PINFOLD_KERNEL_TLS={must} CI=true
{runs}
poweroff -f
"""


def run(*command, **how):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, **how).stdout


def archive(root, into):
    """Writes the files below `root` as cpio(5), "newc", owned by root."""
    with open(into, "wb") as out:
        def entry(name, mode, data=b""):
            encoded = name.encode() + b"\0"
            fields = (entry.number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
            entry.number += 1
            head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
            for part in (head, data):
                out.write(part + b"\0" * (-len(part) % 4))

        entry.number = 1
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if path.is_symlink():
                entry(name, 0o120777, os.readlink(path).encode())
            elif path.is_dir():
                entry(name, 0o40755)
            else:
                entry(name, 0o100755, path.read_bytes())
        entry("TRAILER!!!", 0)


def build():
    """The programs of this tree, and its test programs by name."""
    command = ["cargo", "test", "--locked", "--workspace", "--lib", "--test", "it", "--no-run", "--message-format=json"]
    lines = run(*command, cwd=ROOT).splitlines()
    built = [json.loads(line) for line in lines if line.startswith("{")]
    built = [(each["target"], each["profile"]["test"], each["executable"]) for each in built if each.get("executable")]
    ours = [(target, is_test, path) for target, is_test, path in built if not target["src_path"].startswith(f"{ROOT}/loadtest/")]
    tests = {target["name"]: pathlib.Path(path) for target, is_test, path in ours if is_test and target["name"] in TESTS}
    programs = [pathlib.Path(path) for target, is_test, path in built if target["kind"] == ["bin"] and not is_test]
    return programs, tests


def put(root, program):
    """Puts a program where it lies here, and what it links."""
    for path in [program, *re.findall(r"(/\S+) \(0x", run("ldd", program))]:
        target = root / str(path)[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    run("strip", "--strip-debug", root / str(program)[1:])


def kernel_package(directory):
    depends = run("apt-cache", "depends", "linux-image-cloud-amd64")
    name = re.search(r"Depends: (linux-image-\S+)", depends).group(1)
    subprocess.run(["apt-get", "download", "-q", name], check=True, cwd=directory, stdout=subprocess.DEVNULL)
    return next(directory.glob("linux-image-*.deb"))


def add_modules(unpacked, root):
    """The kernel's modules that are needed, unpacked, where `modprobe` looks."""
    [modules] = [each for folder in ("lib/modules", "usr/lib/modules") for each in unpacked.glob(f"{folder}/*")]
    for packed in modules.rglob("*.ko.xz"):
        subprocess.run(["xz", "-d", str(packed)], check=True)
    target = root / "lib/modules" / modules.name
    staged = unpacked / "staged/lib/modules" / modules.name
    staged.parent.mkdir(parents=True)
    shutil.move(modules, staged)
    run("depmod", "-b", unpacked / "staged", modules.name)
    needs = dict(line.split(":", 1) for line in (staged / "modules.dep").read_text().splitlines())
    by_name = {pathlib.Path(path).stem: path for path in needs}
    wanted = [by_name[name] for name in MODULES if name in by_name]
    for path in {path for each in wanted for path in [each, *needs[each].split()]}:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(staged / path, target / path)
    for index in staged.glob("modules.*"):
        shutil.copy(index, target / index.name)
    return modules.name


def main():
    arguments = sys.argv[1:]
    package = pathlib.Path(arguments.pop(0)).resolve() if arguments and arguments[0].endswith(".deb") else None
    wanted = {"pinfold": arguments} if arguments else TESTS
    programs, tests = build()
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        os.chmod(directory, 0o755)
        package = package or kernel_package(directory)
        unpacked, root = directory / "unpacked", directory / "root"
        run("dpkg", "-x", package, unpacked)
        for folder in ("bin", "proc", "sys", "dev", "tmp"):
            (root / folder).mkdir(parents=True)
        version = add_modules(unpacked, root)
        shutil.copy("/bin/busybox", root / "bin/busybox")
        for tool in ("sh", "mount", "ip", "modprobe", "uname", "poweroff"):
            (root / "bin" / tool).symlink_to("busybox")
        for program in [*programs, *tests.values(), shutil.which("openssl")]:
            put(root, program)
        (root / "usr/lib/ssl").mkdir(parents=True, exist_ok=True)
        shutil.copy("/etc/ssl/openssl.cnf", root / "usr/lib/ssl/openssl.cnf")
        major, minor = (int(number) for number in version.split(".")[:2])
        must = "1.3" if (major, minor) >= (6, 14) else "1.2"
        runs = "\n".join(f"{tests[name]} --test-threads=1 {' '.join(filters)}\necho \"tests ended with $?\"" for name, filters in wanted.items())
        init = INIT.format(modules=" ".join(MODULES), must=must, runs=runs)
        (root / "init").write_text(init)
        archive(root, directory / "initramfs")
        [kernel] = (unpacked / "boot").glob("vmlinuz-*")
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536", "-display", "none",
                   "-monitor", "none", "-nodefaults", "-vga", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel,
                   "-initrd", directory / "initramfs", "-append", "console=ttyS0 quiet panic=-1"]
        told = []
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
        killer = threading.Timer(PATIENCE, process.kill)
        killer.start()
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                told.append(line)
            process.wait()
        finally:
            killer.cancel()
            process.kill()
    text = "".join(told)
    ended = re.findall(r"tests ended with (\d+)", text)
    passed = re.findall(r"test result: ok\. ([1-9]\d*) passed", text)
    if ended != ["0"] * len(wanted) or len(passed) != len(wanted):
        sys.exit(f"under Linux {version} not all tests passed")


if __name__ == "__main__":
    main()
