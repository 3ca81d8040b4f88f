"""One of several processes that each hold a piece of the weights and of the optimizer's memory, met over gloo.

pieces.py     with STEPS, EVERY, RANK, WORLD_SIZE and MEETING, a file by which they find each other
"""

import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from bough import checkpoint

ROWS, COLUMNS = 7, 3  # uneven: of two processes one has four rows
SAVED_BEFORE = 5  # what was saved until then is on the disk before anything of the next step is done


def main() -> None:
    steps, every, rank, world = (
        int(os.environ["STEPS"]),
        os.environ["EVERY"],
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
    )
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{os.environ['MEETING']}", rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    torch.manual_seed(1)
    model = torch.nn.Linear(COLUMNS, ROWS, bias=False)
    model.weight = torch.nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [Shard(0)]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with checkpoint.open(every=every) as ckpt:
        for step in ckpt.steps(steps, {"model": model, "optimizer": optimizer}):
            if step == SAVED_BEFORE:
                ckpt.flush()  # all have, once they meet again
            dist.barrier()  # stands for what gradients would need
            weight = model.weight
            weight.grad = DTensor.from_local(
                weight.to_local() * 0.5 + step, mesh, [Shard(0)], shape=weight.shape, stride=weight.stride()
            )
            optimizer.step()
    local = model.weight.to_local()
    print("end", ckpt.step, dist.get_world_size(), len(local), model.weight.full_tensor().tolist(), flush=True)
    dist.destroy_process_group()


main()
