"""Beam options of a job, passed through from the command line."""

from apache_beam.options import pipeline_options

from tfrs_himirec import errors


def build(arguments: list[str]) -> pipeline_options.PipelineOptions:
    """Returns the options; the runner is FnApiRunner unless one is named.

    Raises:
      HimirecError: DaskRunner, which loses data silently, or DirectRunner, which
        tries to download another runner first.
    """
    options = pipeline_options.PipelineOptions(arguments)
    standard = options.view_as(pipeline_options.StandardOptions)
    if standard.runner in ("DaskRunner", "DirectRunner"):
        raise errors.HimirecError(
            f"--runner={standard.runner}: not supported; use --runner=FnApiRunner"
        )
    standard.runner = standard.runner or "FnApiRunner"
    return options
