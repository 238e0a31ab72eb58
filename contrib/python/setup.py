# SPDX-License-Identifier: Apache-2.0
"""Puts library, plugins, data files and program into the package, as the tree `bin lib share` that they expect."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent.parent.parent


def version():
    header = ROOT / "framework/include/tessera/version.h"
    if not header.exists():
        sys.exit(f"tessera: {header} is not there: build this package inside of the source tree (contrib/python)")
    return re.search(r'TSR_VERSION "([^"]*)"', header.read_text()).group(1)


def copy_stripped(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)  # follows links: a wheel has none
    if shutil.which("strip"):
        subprocess.run(["strip", "--strip-unneeded", str(target)], check=True)


def copy_native(target):
    """The build tree, without what only a compiler needs."""
    build = ROOT / "build"
    shutil.rmtree(target, ignore_errors=True)
    library = os.readlink(build / "lib/libtessera.so")  # named by the soname
    copy_stripped(build / "lib" / library, target / "lib" / library)
    for plugin in sorted((build / "lib/tessera").glob("*.so")):
        copy_stripped(plugin, target / "lib/tessera" / plugin.name)
    copy_stripped(build / "bin/tessera", target / "bin/tessera")
    shutil.copytree(build / "share/tessera", target / "share/tessera", ignore=shutil.ignore_patterns(".stamp"))


class BuildWithMake(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            sys.exit("tessera: the library goes into the package when it is installed: use `pip install .`")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        jobs = str(os.cpu_count() or 1)
        subprocess.run(["make", "-s", "-C", str(ROOT), "-j", jobs, "all"], check=True, env=environment)
        copy_native(Path(self.build_lib) / "tessera/_native")


class BinaryDistribution(Distribution):
    def has_ext_modules(self):
        return True


class AnyPythonWheel(bdist_wheel):
    """The library is called through ctypes: any Python, one platform."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


VERSION = version()
# What setuptools makes on the way stays out of the source tree.
aside = ROOT / "build/python-package"
aside.mkdir(parents=True, exist_ok=True)
setup(
    version=VERSION,
    distclass=BinaryDistribution,
    cmdclass={"build_py": BuildWithMake, "bdist_wheel": AnyPythonWheel},
    options={"build": {"build_base": str(aside)}, "egg_info": {"egg_base": str(aside)}},
)
