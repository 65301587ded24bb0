"""`import mlla` is light, and timm knows our models whichever is imported first."""

import subprocess
import sys
import textwrap

import pytest

import mlla

STUB_OF_TIMM = """
import time
time.sleep(0.2)
registered = []
"""
# registers with the stub what mlla.models would register with timm
STUB_OF_MODELS = """
import timm
timm.registered.append("mlla_tiny")
"""
LISTED = "assert timm.list_models('ml*la*') == ['mlla_base', 'mlla_small', 'mlla_tiny']"


def run(code, **options):
    """Run code in a fresh interpreter in which every warning is an error of that run."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )
    assert process.returncode == 0, process.stderr
    assert "mlla could not register" not in process.stderr
    return process.stdout


@pytest.fixture
def stubs(tmp_path):
    """A timm that takes no time, and our package with models to match."""
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text(STUB_OF_TIMM)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text(STUB_OF_MODELS)
    prelude = f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    import mlla
    mlla.__path__.insert(0, {str(tmp_path)!r})
    """

    def run_with_stubs(code):
        return run(textwrap.dedent(prelude) + textwrap.dedent(code))

    return run_with_stubs


def test_import_is_light():
    heavy = {"torch", "timm", "torchvision", "numpy", "jaxtyping", "importlib.metadata"}
    loaded = run(
        "import sys; before = set(sys.modules); import mlla; print(set(sys.modules) - before)"
    )
    assert not heavy & set(loaded.split("'"))


def test_timm_knows_our_models_when_imported_last():
    # timm is imported in as few fresh interpreters as possible: it takes seconds each time
    run(
        f"""
        import mlla, timm
        {LISTED}
        timm.create_model("mila_tiny", dim=8)

        assert set(mlla.__all__) <= set(dir(mlla))
        homes = {{name: getattr(mlla, name) for name in mlla.__all__}}
        from importlib.metadata import version
        assert homes.pop("__version__") == version("mlla")
        assert {{name: value.__name__ for name, value in homes.items()}} == {{n: n for n in homes}}
        assert {{"MLLA", "MLLABlock", "linear_attention", "load_published"}} <= set(homes)
        """
    )


def test_timm_knows_our_models_when_imported_first():
    run(f"import timm, mlla\n{LISTED}")


def test_packages_load_when_they_are_named():
    run(
        """
        import sys, mlla
        assert "mlla.losses" not in sys.modules
        assert mlla.losses.SlideLoss is sys.modules["mlla.losses"].SlideLoss
        assert mlla.ops.linear_attention is mlla.linear_attention
        """
    )


def test_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'; it has .'MLLA'"):
        mlla.nothing  # noqa: B018


def test_finder_removes_itself_and_leaves_no_trace(stubs):
    stubs(
        """
        before = [f for f in sys.meta_path if "mlla" in type(f).__module__]
        assert len(before) == 1
        import timm
        assert timm.registered == ["mlla_tiny"]
        assert not [f for f in sys.meta_path if "mlla" in type(f).__module__]
        assert type(timm.__loader__) is type(timm.__spec__.loader) is type(mlla.__loader__)
        """
    )


def test_looking_for_timm_does_not_import_it(stubs):
    stubs(
        """
        from importlib.util import find_spec
        spec = find_spec("timm")
        assert "registered" in spec.loader.get_source("timm")
        assert spec.origin == spec.loader.get_filename("timm")
        assert "timm" not in sys.modules
        import timm
        assert timm.registered == ["mlla_tiny"]
        """
    )


def test_models_may_be_what_imports_timm(stubs):
    stubs("import mlla.models, timm\nassert timm.registered == ['mlla_tiny']")


def test_reloading_registers_nothing_twice(stubs):
    stubs(
        """
        import importlib
        path = mlla.__path__
        importlib.reload(mlla).__path__ = path
        assert len([f for f in sys.meta_path if "mlla" in type(f).__module__]) == 1
        import timm
        importlib.reload(mlla)
        assert timm.registered == ["mlla_tiny"]
        # a reload is the user's business: it must run, and as if we were not there
        importlib.reload(timm)
        assert timm.registered == []
        """
    )


def test_threads_may_import_both_at_once(stubs):
    stubs(
        """
        import importlib, threading
        errors = []

        def load(name):
            try:
                importlib.import_module(name)
            except BaseException as error:
                errors.append(error)

        threads = [
            threading.Thread(target=load, args=(name,))
            for name in ("timm", "mlla.models", "timm", "mlla.models", "timm")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert not errors, errors
        assert sys.modules["timm"].registered == ["mlla_tiny"]
        """
    )


def test_without_timm_the_rest_works():
    run(
        """
        import sys
        from importlib.machinery import PathFinder

        class NoTimm(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                return None if name.partition(".")[0] == "timm" else super().find_spec(
                    name, path, target
                )

        sys.meta_path[sys.meta_path.index(PathFinder)] = NoTimm
        import mlla
        from importlib.util import find_spec
        assert find_spec("timm") is None
        try:
            import timm
        except ModuleNotFoundError as error:
            assert error.name == "timm"
        else:
            raise AssertionError
        from mlla.ops import linear_attention
        """
    )


def test_a_timm_that_fails_fails_as_ever(stubs, tmp_path):
    stubs(
        f"""
        import pathlib
        source = pathlib.Path({str(tmp_path)!r}, "timm", "__init__.py")
        good = source.read_text()
        source.write_text("raise ImportError('broken')")
        for _ in range(2):
            try:
                import timm
            except ImportError as error:
                assert str(error) == "broken"
            else:
                raise AssertionError
        sys.dont_write_bytecode = True
        source.write_text(good)
        import timm
        assert timm.registered == ["mlla_tiny"]
        """
    )


def test_a_fault_of_ours_does_not_take_timm_away(stubs, tmp_path):
    (tmp_path / "models" / "__init__.py").write_text("raise RuntimeError('ours')")
    stubs(
        """
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import timm
        (warning,) = caught
        assert "mlla could not register its models with timm: RuntimeError('ours')" in str(
            warning.message
        )
        assert timm.registered == []
        """
    )
