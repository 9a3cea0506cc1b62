"""Packaging; requirements.txt pins the tested set."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (HERE / "tfrs_himirec" / "__init__.py").read_text()
).group(1)

setup(
    name="tfrs_himirec",
    version=VERSION,
    description="HimiRec, hierarchical multi-interest retrieval, in TensorFlow",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=["tfrs_himirec*", "beam_pipelines*", "serving*"]),
    install_requires=[
        "apache-beam[tfrecord]==2.77.0",
        "keras==3.15.1",
        "keras-hub==0.32.0",
        "keras-nlp==0.32.0",
        "matplotlib>=3.9",
        "numpy>=2.0,<3",
        "pandas>=2.2",
        "pyarrow>=16",
        "pydantic>=2.7,<3",
        "pyyaml>=6",
        "scann[tf]==1.4.2",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "tensorflow==2.20.0",
        "tensorflow-recommenders==0.7.7",
        "tensorflow-serving-api==2.20.0",
        "tf-keras==2.20.1",
        "tqdm>=4.66",
    ],
    extras_require={
        "dev": ["build", "hypothesis", "mypy", "pytest", "ruff", "types-PyYAML"],
    },
    entry_points={"console_scripts": ["himirec=tfrs_himirec.cli.main:main"]},
)
