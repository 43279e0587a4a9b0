"""Measuring exported files in browsers: a phone opens one page, and its samples become benchmark records.

The browsers' runtimes are those of `attar.export.web.assets`.

- `plan`: what a browser is asked to do
- `inbox`: what it may post
- `agreement`: whether its answers are the expected ones
- `session`: one device, from plan to records
- `laboratory`: all devices of one run
- `server`: HTTP
- `serve`: the verb
- `page/`: what the browser loads
"""

from attar.benchmarks.lab.serve import check, lab, results_table

__all__ = ["check", "lab", "results_table"]
