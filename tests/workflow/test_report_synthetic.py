"""What the report of a tiny run lacks, seen in a real browser: tuning, ablations, a critical difference, and the widest
table that there is. The records are synthetic, so nothing is trained.
"""

import pytest
from browsing import opened
from synthetic import drawn, experiment, fill, make_suite, tune
from test_report import bind, check_figure, check_page, enter

from mola.reporting.figures import _write
from mola.reporting.pages.about import about
from mola.reporting.write import write_tables

pytestmark = pytest.mark.slow
ROWS = {
    "shared": {"group": "one network"},
    "mola_router": {"rank": 4, "group": "low-rank adapters"},
    "router_rank2": {"method": "mola_router", "rank": 2, "group": "low-rank adapters"},
}
# one order on all benchmarks, so that Friedman's test is significant
GAINS = dict(zip(ROWS, (0.0, 0.1, 0.2), strict=True))
BENCHMARKS = ("scenes", "digits", "glyphs", "pacs", "vlcs")
# of → what is looked at; test_report.py looks at the others
FIGURES = {
    "scenes": ("ablation", "tuning_history", "tuning_importance"),
    "summary": ("critical_difference",),
}


@pytest.fixture(scope="module")
def report(module_repository):
    changes = {"tune": {"trials": 3, "pruner": "median"}, "probes": {"oracle_selection": True}}
    suite = make_suite(module_repository, methods=ROWS, benchmarks=BENCHMARKS, seeds=2, **changes)
    for name in BENCHMARKS:
        for label in suite.methods:
            tune(suite, name, label, finished=5, pruned=2)

    def oracle(name, label, seed):
        tasks = experiment(suite, label, name).data.tasks
        return {"selected": {}, "test": {task.name: dict.fromkeys(task.metrics, 0.9) for task in tasks}}

    fill(suite, drawn(GAINS, noise=0.01), oracle_selection=oracle)
    write_tables(suite)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_write, "names", lambda: sum(FIGURES.values(), ()))
        _write.write_figures(suite)
    (suite.folder / "about.html").write_text(about(suite, ""))
    assert not (module_repository / ".snakemake").exists()
    return bind(module_repository, "suite.yaml")


def test_figures_of_tuning_and_dense_tables_fit_a_desk_and_a_hand(report, browser):
    page, wrong = opened(browser, report, 1280)

    def look(name, check):
        """One visit for both widths: each load of the page takes a second."""
        page.locator("nav tbody tr").filter(has=page.get_by_text(name, exact=True)).locator("a").first.click()
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            check(page, width)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.set_viewport_size({"width": 1280, "height": 800})

    for of, figures in FIGURES.items():
        enter(page, "Figures", of, alone=False)
        for figure in figures:
            look(figure.replace("_", " "), check_figure)
    enter(page, "Tables", None, alone=True)
    look("scenes", check_wide_table)
    assert wrong == []
    page.close()


def test_a_folder_where_nothing_ran_has_a_whole_report(report, browser):
    page, wrong = opened(browser, report, 1280)
    kinds = ("tables/*.html", "figures/*.png", "about.html")
    files = {path.name for kind in kinds for path in report.parent.glob(kind)}
    assert {result.split("/")[-1] for result in page.evaluate("Object.keys(results)")} == files
    page.locator("nav").get_by_role("link", name="Statistics").click()
    page.wait_for_timeout(300)
    assert wrong == []
    page.close()


def check_wide_table(page, width):
    check_page(page, width)
    head = page.locator("#app iframe").content_frame.locator(".scroll thead")
    titles = head.inner_text()
    assert all(column in titles for column in ("Δ_task ↑", "Δ_flat ↓", "optimism", "pruned"))
    last = head.locator("th").last
    last.scroll_into_view_if_needed()
    assert last.bounding_box()["x"] + last.bounding_box()["width"] <= width, "the last column can be reached"
