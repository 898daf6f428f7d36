import numpy as np
import pytest
from synthetic import make_run

import twist
from twist.runs.config import ConfigError
from twist.view.arguments import is_newest


def test_only_the_word_last_is_the_newest_run():
    assert is_newest("last")
    assert not any(is_newest(run) for run in ("first", None, 3, np.zeros(3)))


@pytest.mark.parametrize("view", ["RunMonitor", "ClassExplorer", "TwoViews", "Compare"])
@pytest.mark.parametrize("run", [123, np.zeros(3), 1.5])
def test_what_is_no_run_is_refused_in_words(view, run):
    with pytest.raises(ConfigError, match=f"{type(run).__name__} is no run|no run"):
        getattr(twist, view)([run] if view == "Compare" else run)


def test_a_misspelt_keyword_is_refused_with_the_one_meant(tmp_path):
    run = make_run(tmp_path, num_samples=20)
    with pytest.raises(ConfigError, match="ClassExplorer takes no 'stpe': did you mean 'step'"):
        twist.ClassExplorer(run, stpe=100)
    with pytest.raises(ConfigError, match="TwoViews takes no 'imgae': did you mean 'image'"):
        twist.TwoViews(run, imgae=1)
    with pytest.raises(ConfigError, match="TwistScatter takes no 'colour': did you mean 'color'"):
        twist.TwistScatter(np.zeros((3, 2)), colour=[1, 2, 3])


def test_a_monitor_of_a_run_with_hardly_a_file_shows_a_sentence(tmp_path):
    run = make_run(tmp_path, num_samples=20)
    (run / "recipe.json").write_text("{")
    monitor = twist.RunMonitor(run, live=False)
    assert "cannot be read" in monitor._repr_mimebundle_()["text/html"]
    with pytest.raises(ValueError, match="has no step 'a'"):
        monitor.jump("a")
    monitor.close()


def test_only_scatters_are_linked():
    with pytest.raises(ConfigError, match="link is given a int"):
        twist.link(twist.TwistScatter(np.zeros((3, 2))), 3)
