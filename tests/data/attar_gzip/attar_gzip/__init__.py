"""What a package adds to attar: a file format and a runtime for it here, a loss and a head beside them."""

from attar.benchmarks.runtimes import Described
from attar.export.formats import FLOAT, INTEGERS, Format, Look

FORMAT = Format(
    title="ONNX, compressed",
    module="attar_gzip.files",
    precisions={"fp32": FLOAT, "int8": INTEGERS},
    suffix="gz",
    needs=("onnx", "onnxscript", "onnxruntime"),
    evaluator="onnxruntime",
    look=Look("P", "plus signs", "#8a5a00", "#e0b050", "#b07a10"),
)
RUNTIME = Described(place="attar_gzip.runtime", format="gzip")
