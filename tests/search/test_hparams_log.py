"""A search's trials, as TensorBoard's own hparams plugin reads them from the folder."""

import shutil

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment
from tensorboard.plugins.hparams import list_session_groups as groups

from tests.search.search_process import make_search
from tfxp.errors import OutputError


def in_tensorboard(folder):
    """The experiment and its session groups, as the dashboard gets them."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    request = RequestContext()
    experiment = get_experiment.Handler(request, context, "", api_pb2.GetExperimentRequest()).run()
    metrics = [
        api_pb2.ColParams(metric=info.name, include_in_result=True)
        for info in experiment.metric_infos
    ]
    bits = [
        api_pb2.ColParams(hparam=info.name, include_in_result=True)
        for info in experiment.hparam_infos
    ]
    every = [api_pb2.Status.Value(f"STATUS_{name}") for name in ("SUCCESS", "FAILURE")]
    asked = api_pb2.ListSessionGroupsRequest(
        col_params=[*metrics, *bits], allowed_statuses=every, start_index=0, slice_size=10**6
    )
    found = groups.Handler(request, context, "", asked).run()
    return experiment, {group.name: group for group in found.session_groups}


def test_tensorboard_reads_every_trial(tmp_path):
    search = make_search(tmp_path / "search", "greedy", tensorboard=tmp_path / "board")
    result = search.run()
    experiment, found = in_tensorboard(tmp_path / "board")
    names = {"/".join(key) for key in search.space.parameters()}
    assert {info.name for info in experiment.hparam_infos} == names
    assert found.keys() == {trial.number for trial in result.trials}
    assert any(not trial.complete for trial in result.trials)
    for trial in result.trials:
        group = found[trial.number]
        bits = {"/".join(key): value for key, value in trial.configuration.to_dict().items()}
        assert {name: value.number_value for name, value in group.hparams.items()} == bits
        values = {value.name.tag: value.value for value in group.metric_values}
        score = "score" if trial.complete else "score at most"
        assert values.keys() == {score, search.goal.cost, "seconds"}
        assert values[score] == pytest.approx(trial.accuracy)
        assert values[search.goal.cost] == pytest.approx(trial.costs[search.goal.cost])
        status = api_pb2.Status.Name(group.sessions[0].status)
        assert status == ("STATUS_SUCCESS" if trial.complete else "STATUS_FAILURE")


@pytest.mark.slow
def test_a_search_that_goes_on_completes_the_folder(tmp_path):
    board = tmp_path / "board"
    result = make_search(tmp_path / "search", "greedy", tensorboard=board).run()
    first, second = (board / trial.number for trial in result.trials[:2])
    kept = [path.name for path in first.iterdir()]
    shutil.rmtree(second)  # as after a kill between ledger and folder
    assert make_search(tmp_path / "search", "greedy", tensorboard=board).run().new_trials == 0
    assert [path.name for path in first.iterdir()] == kept and second.is_dir()
    assert len(in_tensorboard(board)[1]) == len(result.trials)


def test_a_folder_that_takes_no_files_is_told_before_the_search(tmp_path):
    with pytest.raises(OutputError, match="/dev/null"):
        make_search(tmp_path, "greedy", tensorboard="/dev/null/board").run()
